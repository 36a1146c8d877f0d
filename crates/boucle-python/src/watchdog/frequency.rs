//! How often a person is told: the same place once in a while, and not too many lines in all.

use std::collections::HashMap;
use std::time::Duration;

use boucle_chronology::{Cause, Place};
use boucle_core::clock::Tick;

/// The same place is reported again only after this time.
const PAUSE: Duration = Duration::from_secs(10);

/// So many reports may come at once; each comes back after [`PAUSE`] divided by it.
const MOST: u32 = 20;

/// How many places are remembered.
const REMEMBERED: usize = 1024;

/// What was reported, and when.
#[derive(Debug, Default)]
pub(super) struct Frequency {
    places: HashMap<(Option<Place>, Cause), Told>,
    /// When all of [`MOST`] may be used again.
    free_at: Option<Tick>,
}

#[derive(Debug)]
struct Told {
    at: Tick,
    /// How many were kept quiet since.
    suppressed: u32,
}

/// Whether to tell a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Tell, and how many like it were kept quiet.
    Tell {
        /// That many.
        suppressed: u32,
    },
    /// Only programs are told.
    Quiet,
}

impl Frequency {
    /// Whether to tell of a place.
    pub(super) fn permit(&mut self, place: Option<&Place>, cause: Cause, now: Tick) -> Permit {
        let key = (place.cloned(), cause);
        if let Some(told) = self.places.get_mut(&key)
            && told.at.until(now) < PAUSE
        {
            told.suppressed += 1;
            return Permit::Quiet;
        }
        let one = PAUSE / MOST;
        let free_at = self.free_at.filter(|free_at| *free_at > now).unwrap_or(now);
        if now.until(free_at) + one > PAUSE {
            return Permit::Quiet;
        }
        self.free_at = Some(free_at.after(one));
        if self.places.len() >= REMEMBERED {
            self.places.retain(|_, told| told.at.until(now) < PAUSE);
        }
        let before = self.places.insert(key, Told { at: now, suppressed: 0 });
        Permit::Tell { suppressed: before.map_or(0, |told| told.suppressed) }
    }
}
