//! Registrations: a slab whose tokens carry a generation.
//!
//! The kernel is told a token, not a pointer and not a descriptor: descriptors are reused by the kernel, slots by us,
//! and an event that is late must find neither.

use std::os::fd::RawFd;

use super::Interest;
use crate::{Error, Result};

/// Names a registration until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    /// The token as the 64 bits that the kernel keeps for us.
    pub fn to_bits(self) -> u64 {
        u64::from(self.slot) | u64::from(self.generation) << 32
    }

    /// The token of those bits.
    pub fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// One registration.
#[derive(Debug)]
pub struct Registration<S> {
    /// The descriptor.
    pub fd: RawFd,
    /// What is wanted of it.
    pub interest: Interest,
    /// What the face gets back.
    pub source: S,
}

/// The registrations of a reactor.
#[derive(Debug)]
pub struct Registry<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<S> {
    generation: u32,
    registration: Option<Registration<S>>,
}

impl<S> Default for Registry<S> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<S> Registry<S> {
    /// How many registrations there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a registration.
    pub fn insert(&mut self, registration: Registration<S>) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, registration: None });
            // The kernel allows fewer descriptors than this counts.
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.registration = Some(registration);
        Token { slot, generation: entry.generation }
    }

    /// The registration of a token.
    pub fn get_mut(&mut self, token: Token) -> Result<&mut Registration<S>> {
        self.slots
            .get_mut(token.slot as usize)
            .filter(|slot| slot.generation == token.generation)
            .and_then(|slot| slot.registration.as_mut())
            .ok_or(Error::NotRegistered { slot: token.slot })
    }

    /// Ends a registration.
    pub fn remove(&mut self, token: Token) -> Result<Registration<S>> {
        self.get_mut(token)?;
        let slot = &mut self.slots[token.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.slot);
        slot.registration.take().ok_or(Error::NotRegistered { slot: token.slot })
    }

    /// Every registration.
    pub fn iter(&self) -> impl Iterator<Item = &Registration<S>> {
        self.slots.iter().filter_map(|slot| slot.registration.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(fd: RawFd) -> Registration<&'static str> {
        Registration { fd, interest: Interest::READ, source: "source" }
    }

    #[test]
    fn a_reused_slot_has_another_token() {
        let mut registry = Registry::default();
        let old = registry.insert(registration(3));
        registry.remove(old).unwrap();
        let new = registry.insert(registration(3));
        assert_ne!(old, new);
        assert!(registry.get_mut(old).is_err());
        assert!(registry.remove(old).is_err());
        assert_eq!(registry.get_mut(new).unwrap().fd, 3);
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_token_survives_the_kernel() {
        let mut registry = Registry::default();
        let first = registry.insert(registration(3));
        registry.remove(first).unwrap();
        let token = registry.insert(registration(4));
        assert_eq!(Token::from_bits(token.to_bits()), token);
    }
}
