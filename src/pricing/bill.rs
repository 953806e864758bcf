//! The sum of what a request costs, and what of it has no price.

use super::decimal::FACTOR_ONE;

/// Limit of names of what has no price.
const UNPRICED_MAX: usize = 16;
/// Picodollars in a microdollar.
const PICOS_PER_MICRO: u128 = 1_000_000;

/// An exact sum in 1e-12 dollars, to be rounded once.
#[derive(Debug, Default)]
pub(super) struct Bill {
    picodollars: u128,
    unpriced: Vec<String>,
    /// Whether anything at all has a price.
    has_price: bool,
    /// Whether anything was used.
    has_use: bool,
}

impl Bill {
    /// Adds so many units of something. Without a rate it is noted as unpriced, and with a rate that is not its own.
    pub(super) fn add(&mut self, count: u64, (rate, is_listed): (Option<u64>, bool), name: &str) {
        self.add_part(count, 1, (rate, is_listed), name);
    }

    /// Adds so many parts of a unit.
    pub(super) fn add_part(
        &mut self,
        count: u64,
        parts_per_unit: u64,
        (rate, is_listed): (Option<u64>, bool),
        name: &str,
    ) {
        if count == 0 {
            return;
        }
        self.has_use = true;
        if let Some(rate) = rate {
            // Below 2^128: a count of 64 bits and a rate of 50.
            let part = u128::from(count).saturating_mul(u128::from(rate));
            let part = part / u128::from(parts_per_unit.max(1));
            self.picodollars = self.picodollars.saturating_add(part);
            self.has_price = true;
        }
        if rate.is_none() || !is_listed {
            self.note(name);
        }
    }

    /// Notes something that has no price.
    pub(super) fn note(&mut self, name: &str) {
        let is_new = self.unpriced.iter().all(|known| known != name);
        if is_new && self.unpriced.len() < UNPRICED_MAX {
            self.unpriced.push(name.to_owned());
        }
    }

    /// Multiplies everything so far.
    pub(super) fn scale(&mut self, factor: u64) {
        let scaled = self.picodollars.saturating_mul(u128::from(factor));
        self.picodollars = scaled / u128::from(FACTOR_ONE);
    }

    /// Adds another bill.
    pub(super) fn append(&mut self, other: Self) {
        self.picodollars = self.picodollars.saturating_add(other.picodollars);
        self.has_price |= other.has_price;
        self.has_use |= other.has_use;
        for name in other.unpriced {
            self.note(&name);
        }
    }

    /// Microdollars, rounded half up, and what has no price. `None`: something was used, and nothing has a price.
    pub(super) fn total(self) -> Option<(u64, Vec<String>)> {
        if self.has_use && !self.has_price {
            return None;
        }
        let rounded = self.picodollars.saturating_add(PICOS_PER_MICRO / 2) / PICOS_PER_MICRO;
        let microdollars = u64::try_from(rounded).unwrap_or(u64::MAX);
        Some((microdollars, self.unpriced))
    }
}
