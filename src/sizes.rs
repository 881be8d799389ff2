//! What a struct is made of, for tests that hold its size under a ceiling.

/// Lists the fields of a struct with their sizes. One that is left out does not compile, so that nobody
/// adds a field to what there are 100 000 of without meeting its ceiling.
macro_rules! sizes {
    ($value:expr => $type:ident { $($field:ident),* $(,)? }) => {{
        let $type { $($field),* } = $value;
        [$((stringify!($field), size_of_val($field))),*]
    }};
}

pub(crate) use sizes;
