//! What several rounds show of one figure.

use serde_json::{Value, json};

/// The least, the middle and the most of some figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => f64::midpoint(figures[middle - 1], figures[middle]),
            _ => figures[middle],
        };
        Self {
            least: figures[0],
            median,
            most: figures[figures.len() - 1],
        }
    }

    pub(crate) fn show(&self, decimals: usize) -> String {
        let (median, least, most) = (self.median, self.least, self.most);
        format!("{median:.decimals$} ({least:.decimals$}..{most:.decimals$})")
    }

    pub(crate) fn to_json(self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }

    pub(crate) fn from_json(spread: &Value) -> Option<Self> {
        let figure = |name: &str| spread[name].as_f64();
        Some(Self {
            least: figure("least")?,
            median: figure("median")?,
            most: figure("most")?,
        })
    }
}
