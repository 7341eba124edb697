//! Kubernetes resource quantities: `100m`, `0.5`, `64Mi`, `1e3`.
//!
//! Owns: reading, comparing, adding and writing them, exactly. Does not own: which resource may have which amount.
//! The grammar and the rounding are those of `resource.Quantity` in k8s.io/apimachinery: a decimal number, then a binary
//! suffix (`Ki` to `Ei`), a decimal one (`n` to `E`) or an exponent; what is finer than a nano is rounded up. Only
//! amounts that a container can have are quantities here: negative ones are errors.

use serde_json::Value;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// An amount of a resource: cores, bytes, a count. Never negative.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// Billionths of the unit; at most `i64::MAX` units, as in Kubernetes.
    nanos: i128,
    /// How it is written; amounts that differ only in this are equal.
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Decimal,
    Binary,
}

/// Why something is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a known suffix.
    #[error("{0:?} is not a quantity; write a number and a unit, such as 100m, 0.5, 64Mi or 1e3")]
    Malformed(String),
    /// Less than zero.
    #[error("{0:?} is negative; write an amount of zero or more")]
    Negative(String),
    /// More than `i64::MAX` units, or more digits than can be kept exactly.
    #[error("{0:?} is too large or has too many digits; amounts end at 9223372036854775807")]
    TooLarge(String),
    /// Neither a string nor a number.
    #[error("{0} is not a quantity; write a string such as \"64Mi\" or a number")]
    WrongType(String),
}

const NANOS_PER_UNIT: i128 = 1_000_000_000;

/// As in Kubernetes; it also keeps `nanos` far away from an i128's end (9.2e27 of 1.7e38).
const MAX_NANOS: i128 = i64::MAX as i128 * NANOS_PER_UNIT;

/// Binary suffixes and their power of two, largest first.
const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// Decimal suffixes and their power of ten, largest first.
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, style: Style::Decimal };

    /// That many MiB of memory.
    #[must_use]
    pub const fn mebi(mebibytes: u32) -> Self {
        Quantity { nanos: mebibytes as i128 * NANOS_PER_UNIT * (1 << 20), style: Style::Binary }
    }

    /// That many thousandths of a CPU.
    #[must_use]
    pub const fn milli(millis: u32) -> Self {
        Quantity { nanos: millis as i128 * (NANOS_PER_UNIT / 1000), style: Style::Decimal }
    }

    /// Reads a manifest's field, which may be a string or a number (`cpu: 1`).
    ///
    /// # Errors
    /// Anything that is not a quantity; the message holds what was found.
    pub fn from_value(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            other => Err(QuantityError::WrongType(other.to_string())),
        }
    }

    /// The sum, written like the first that is not zero; the largest quantity when it would be more.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        let nanos = (self.nanos + other.nanos).min(MAX_NANOS);
        let style = if self.is_zero() { other.style } else { self.style };
        Quantity { nanos, style }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let malformed = || QuantityError::Malformed(text.to_owned());
        let (whole, rest) = digits(unsigned);
        let (fraction, suffix) = digits(rest.strip_prefix('.').unwrap_or(rest));
        if whole.is_empty() && fraction.is_empty() {
            return Err(malformed());
        }
        // `1` has no fraction to begin with: what follows its digits is the suffix.
        let scale = Scale::read(suffix).ok_or_else(malformed)?;
        let too_large = || QuantityError::TooLarge(text.to_owned());
        let nanos = to_nanos(whole, fraction.trim_end_matches('0'), scale).ok_or_else(too_large)?;
        if negative && nanos > 0 {
            return Err(QuantityError::Negative(text.to_owned()));
        }
        Ok(Quantity { nanos, style: scale.style })
    }
}

/// The leading decimal digits of `text`, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
struct Scale {
    two: u32,
    ten: i32,
    style: Style,
}

impl Scale {
    fn read(suffix: &str) -> Option<Self> {
        if let Some((_, two)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return Some(Scale { two: *two, ten: 0, style: Style::Binary });
        }
        let ten = match DECIMAL.iter().find(|(name, _)| *name == suffix) {
            Some((_, ten)) => *ten,
            None => exponent(suffix.strip_prefix(['e', 'E'])?)?,
        };
        Some(Scale { two: 0, ten, style: Style::Decimal })
    }
}

/// An exponent with an optional sign; one that no number can bear counts as one that is just too large.
fn exponent(text: &str) -> Option<i32> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (figures, rest) = digits(number);
    if figures.is_empty() || !rest.is_empty() {
        return None;
    }
    Some(sign * figures.parse().unwrap_or(i32::MAX / 2))
}

/// `whole.fraction` by `scale`, rounded up to a nano; nothing when it is too large.
fn to_nanos(whole: &str, fraction: &str, scale: Scale) -> Option<i128> {
    let mut figures: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        figures = figures.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    if figures == 0 {
        return Some(0);
    }
    figures = figures.checked_mul(1_i128.checked_shl(scale.two)?)?;
    let places = i32::try_from(fraction.len()).ok()?;
    let power = scale.ten.checked_add(9)?.checked_sub(places)?;
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    let nanos = match (power >= 0, factor) {
        (true, factor) => figures.checked_mul(factor?)?,
        (false, Some(factor)) => figures / factor + i128::from(figures % factor != 0),
        (false, None) => 1,
    };
    (nanos <= MAX_NANOS).then_some(nanos)
}

impl fmt::Display for Quantity {
    /// The largest suffix that leaves a whole number: binary ones for what was written in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.style == Style::Binary {
            for (suffix, two) in BINARY {
                let unit = NANOS_PER_UNIT << two;
                if self.nanos % unit == 0 {
                    return write!(f, "{}{suffix}", self.nanos / unit);
                }
            }
        }
        // Bytes that are no round number of KiB are written out, as kubectl does.
        let plain = self.style == Style::Binary && self.nanos % NANOS_PER_UNIT == 0;
        for (suffix, ten) in DECIMAL {
            let unit = 10_i128.pow((ten + 9).unsigned_abs());
            if self.nanos % unit == 0 && (!plain || ten == 0) {
                return write!(f, "{}{suffix}", self.nanos / unit);
            }
        }
        Ok(())
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn equal_amounts_are_equal_however_written() {
        for (one, other) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            (".5", "500000u"),
            ("5.", "5"),
            ("+1E3", "1.000k"),
            ("1e-3", "1m"),
            ("1E", "1000000000000000000"),
            ("128974848", "123Mi"),
            ("1.5Gi", "1536Mi"),
            ("2Ti", "2199023255552"),
            ("1G", "1000M"),
            ("0", "-0"),
            ("0.1n", "1n"), // rounded up
            ("1e-99999999999", "1n"),
            ("0e99999999999", "0"),
            ("9223372036854775807", "9223372036854775.807k"),
        ] {
            assert_eq!(quantity(one), quantity(other), "{one} and {other}");
        }
        assert!(quantity("64Mi") > quantity("64M") && quantity("999m") < quantity("1"));
    }

    #[test]
    fn what_is_no_quantity_is_named() {
        for text in [
            "", "-", ".", "m", "Mi", "1ki", "1K", "1MB", "1mi", "1 ", " 1", "1 Mi", "1e", "1e+", "1E-", "1e3Ki",
            "1Eik", "1.2.3", "0x10", "1_000", "1,5", "--1", "+-1", "é", "NaN", "inf",
        ] {
            let error = text.parse::<Quantity>();
            assert_eq!(error, Err(QuantityError::Malformed(text.to_owned())));
        }
        for text in ["-1", "-100m", "-0.5Gi", "-1e-30"] {
            let error = text.parse::<Quantity>();
            assert_eq!(error, Err(QuantityError::Negative(text.to_owned())));
        }
        for text in ["9223372036854775808", "8Ei", "10E", "1e99", "1e99999999999"] {
            let error = text.parse::<Quantity>();
            assert_eq!(error, Err(QuantityError::TooLarge(text.to_owned())));
        }
        assert_eq!(
            "64MB".parse::<Quantity>().unwrap_err().to_string(),
            "\"64MB\" is not a quantity; write a number and a unit, such as 100m, 0.5, 64Mi or 1e3"
        );
    }

    #[test]
    fn numbers_are_quantities_too() {
        let read = |value| Quantity::from_value(&value);
        assert_eq!(read(json!(1)), Ok(quantity("1")));
        assert_eq!(read(json!(0.25)), Ok(quantity("250m")));
        assert_eq!(read(json!(1e3)), Ok(quantity("1k")));
        assert_eq!(read(json!("1")), Ok(quantity("1")));
        assert_eq!(read(json!(-1)), Err(QuantityError::Negative("-1".to_owned())));
        assert_eq!(read(json!(null)), Err(QuantityError::WrongType("null".to_owned())));
        assert_eq!(read(json!(true)), Err(QuantityError::WrongType("true".to_owned())));
    }

    #[test]
    fn written_as_kubectl_writes_them() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.001Ki", "1024m"),
            ("128974848", "128974848"),
            ("1000000", "1M"),
            ("1500u", "1500u"),
        ] {
            assert_eq!(quantity(text).to_string(), canonical, "{text}");
        }
        assert_eq!(Quantity::mebi(64).to_string(), "64Mi");
    }

    #[test]
    fn sums_are_exact_and_bounded() {
        let sum = |a: &str, b: &str| quantity(a).saturating_add(quantity(b)).to_string();
        assert_eq!(sum("100m", "0.9"), "1");
        assert_eq!(sum("64Mi", "1Gi"), "1088Mi");
        assert_eq!(sum("0", "64Mi"), "64Mi");
        assert_eq!(quantity(&sum("9223372036854775807", "1n")), quantity("9223372036854775807"));
        assert!(Quantity::ZERO.is_zero() && !quantity("1n").is_zero());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,45}([eE][-+]?[0-9]{0,12}|[numkMGTPEKi]{0,3}|\\PC{0,4})") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
            }
        }

        #[test]
        fn what_is_written_is_read_back(whole in 0_u64..1 << 40, suffix in "(|n|u|m|k|M|Ki|Mi|e[0-6]|e-[0-9]|\\.[0-9]{1,12}(|Ki|Mi|m))") {
            let quantity = format!("{whole}{suffix}").parse::<Quantity>().unwrap();
            prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
        }
    }
}
