//! Facts about a connection that are true or false. Each takes one bit, because there may be 100
//! 000 connections.

use std::fmt;
use std::marker::PhantomData;

/// A fact, and its bit in the byte.
pub(crate) trait Flag: Copy + fmt::Debug + 'static {
    /// All facts, in the order of their bits; at most eight.
    const ALL: &'static [Self];

    /// Returns the index in [`ALL`](Self::ALL).
    fn place(self) -> u8;
}

/// Up to eight facts in one byte, none of them true at first.
pub(crate) struct Flags<F> {
    bits: u8,
    names: PhantomData<F>,
}

impl<F: Flag> Flags<F> {
    /// No fact is true.
    pub(crate) const NONE: Self = Self {
        bits: 0,
        names: PhantomData,
    };

    /// Returns a copy in which one more fact is true.
    pub(crate) fn with(mut self, flag: F) -> Self {
        self.insert(flag);
        self
    }

    /// Makes a fact true or false.
    pub(crate) fn set(&mut self, flag: F, is_true: bool) {
        if is_true {
            self.insert(flag);
        } else {
            self.remove(flag);
        }
    }

    /// Makes a fact true.
    pub(crate) fn insert(&mut self, flag: F) {
        self.bits |= 1 << flag.place();
    }

    /// Makes a fact false, and returns whether it was true.
    pub(crate) fn remove(&mut self, flag: F) -> bool {
        let was = self.has(flag);
        self.bits &= !(1 << flag.place());
        was
    }

    /// Returns whether a fact is true.
    pub(crate) fn has(&self, flag: F) -> bool {
        self.bits & (1 << flag.place()) != 0
    }

    /// Returns whether any of the facts that are true in `others` is.
    pub(crate) fn has_any(&self, others: Self) -> bool {
        self.bits & others.bits != 0
    }
}

impl<F> Clone for Flags<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Flags<F> {}

impl<F: Flag> fmt::Debug for Flags<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = F::ALL.iter().filter(|&&flag| self.has(flag));
        f.debug_set().entries(held).finish()
    }
}

/// Declares an enum of facts.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$fact_doc:meta])* $fact:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $($(#[$fact_doc])* $fact,)*
        }

        impl $crate::proto::flags::Flag for $name {
            const ALL: &'static [Self] = &[$(Self::$fact,)*];

            fn place(self) -> u8 {
                self as u8
            }
        }

        const _: () = assert!(<$name as $crate::proto::flags::Flag>::ALL.len() <= 8);
    };
}

pub(crate) use flags;

#[cfg(test)]
mod tests {
    use super::*;

    flags! {
        /// Facts of a test.
        Fact {
            First,
            Second,
            Third,
        }
    }

    #[test]
    fn facts_do_not_touch_each_other() {
        let mut flags = Flags::NONE;
        flags.insert(Fact::Second);
        flags.insert(Fact::Third);
        assert!(!flags.has(Fact::First) && flags.has(Fact::Second));
        assert!(flags.remove(Fact::Second));
        assert!(!flags.remove(Fact::Second));
        assert_eq!(format!("{flags:?}"), "{Third}");
        assert_eq!(size_of_val(&flags), 1);
    }
}
