//! Sizes in bytes (D9).
//!
//! Duty: `64MiB`, `1.5 GiB`, `20%`. Guarantee: no overflow. Left to others: of what a percentage is taken.

/// A size, absolute or as a part of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// Percent, above 0 and at most 100.
    Percent(f64),
}

impl Size {
    /// Bytes, where 100 % are `whole` bytes.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (whole as f64 * percent / 100.0) as u64,
        }
    }

    /// Reads text; `Err` says why not, without the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let amount: f64 = number.parse().map_err(|_| "a number is due, e.g. `64MiB`".to_owned())?;
        let scale: u64 = match unit.strip_prefix(' ').unwrap_or(unit) {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "%" if amount > 0.0 && amount <= 100.0 => return Ok(Self::Percent(amount)),
            "%" => return Err("a percentage is above 0 and at most 100".to_owned()),
            other => return Err(format!("unknown unit \"{other}\" (units: KiB MiB GiB)")),
        };
        let whole = number.parse::<u64>().ok().and_then(|whole| whole.checked_mul(scale));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let parts = || {
            let bytes = amount * scale as f64;
            (number.contains('.') && bytes < 9e18).then_some(bytes as u64)
        };
        whole.or_else(parts).map(Self::Bytes).ok_or_else(|| "it is larger than 16 EiB".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_the_binary_units_and_percent() {
        for (text, want) in [
            ("0", Ok(Size::Bytes(0))),
            ("512", Ok(Size::Bytes(512))),
            ("64KiB", Ok(Size::Bytes(64 << 10))),
            ("64 MiB", Ok(Size::Bytes(64 << 20))),
            ("1.5GiB", Ok(Size::Bytes(3 << 29))),
            ("20%", Ok(Size::Percent(20.0))),
            ("0%", Err("a percentage is above 0 and at most 100".to_owned())),
            ("64MB", Err("unknown unit \"MB\" (units: KiB MiB GiB)".to_owned())),
            ("MiB", Err("a number is due, e.g. `64MiB`".to_owned())),
            ("-1MiB", Err("a number is due, e.g. `64MiB`".to_owned())),
            ("99999999999999GiB", Err("it is larger than 16 EiB".to_owned())),
        ] {
            assert_eq!(Size::parse(text), want, "{text}");
        }
        assert_eq!(Size::Percent(25.0).of(1000), 250);
    }
}
