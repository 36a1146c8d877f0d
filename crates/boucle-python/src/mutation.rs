//! Mistakes on purpose, for the test of the differential tester: each must be found. Only a build with the feature
//! `mutations` can make them; in every other one [`Mutation::is_made`] is a constant.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The message passed to `Task.cancel` is dropped.
    CancelMessageDropped,
    /// A cancelled task is told again at each step.
    MustCancelNotCleared,
    /// `uncancel` counts nothing.
    UncancelDoesNotCount,
    /// Of three and more waiters, the further ones are told in reverse order.
    WaitersReversed,
    /// A result that a task has asked for still counts as never retrieved.
    NeverRetrieved,
}

#[cfg(feature = "mutations")]
mod made {
    use super::Mutation;

    static MADE: std::sync::Mutex<Option<Mutation>> = std::sync::Mutex::new(None);

    const NAMES: [(&str, Mutation); 5] = [
        ("cancel-message-dropped", Mutation::CancelMessageDropped),
        ("must-cancel-not-cleared", Mutation::MustCancelNotCleared),
        ("uncancel-does-not-count", Mutation::UncancelDoesNotCount),
        ("waiters-reversed", Mutation::WaitersReversed),
        ("never-retrieved", Mutation::NeverRetrieved),
    ];

    impl Mutation {
        /// Whether this mistake is to be made.
        pub(crate) fn is_made(self) -> bool {
            *MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == Some(self)
        }
    }

    /// The names of all mistakes.
    pub(crate) fn names() -> Vec<&'static str> {
        NAMES.iter().map(|(name, _)| *name).collect()
    }

    /// Makes the mistake of this name from now on, none if there is none of it.
    pub(crate) fn make(name: &str) {
        let mutation = NAMES.iter().find(|(known, _)| *known == name).map(|(_, mutation)| *mutation);
        *MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = mutation;
    }
}

#[cfg(feature = "mutations")]
pub(crate) use made::{make, names};

#[cfg(not(feature = "mutations"))]
#[expect(clippy::unused_self, reason = "the other build's answer depends on it")]
impl Mutation {
    /// Whether this mistake is to be made: never.
    #[inline]
    pub(crate) const fn is_made(self) -> bool {
        false
    }
}
