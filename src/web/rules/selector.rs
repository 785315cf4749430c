//! Selectors of series: what `match[]` holds.
//!
//! Duty: Prometheus' `name{label="value", other=~"regex"}` as matchers over labels. Guarantee: a label that is not there is
//! empty, regular expressions are anchored and bounded, and a selector that everything fits is refused, as Prometheus has it.
//! Left to others: which labels (the parent).

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled regular expression.
const REGEX_BYTES: usize = 1 << 20;

/// All matchers of it must hold.
#[derive(Debug)]
pub(super) struct Selector(Vec<(String, Test)>);

#[derive(Debug)]
enum Test {
    Is(String),
    IsNot(String),
    Fits(Regex),
    FitsNot(Regex),
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(wanted) => value == wanted,
            Self::IsNot(other) => value != other,
            Self::Fits(regex) => regex.is_match(value),
            Self::FitsNot(regex) => !regex.is_match(value),
        }
    }
}

impl Selector {
    /// `Err` says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.chars().peekable() };
        let mut matchers = Vec::new();
        if let Some(name) = reader.name(true) {
            matchers.push(("__name__".to_owned(), Test::Is(name)));
        }
        if reader.takes('{') {
            reader.matchers(&mut matchers)?;
        }
        reader.end()?;
        if matchers.iter().all(|(_, test)| test.holds("")) {
            return Err("match[] must contain at least one non-empty matcher".to_owned());
        }
        Ok(Self(matchers))
    }

    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(name, test)| test.holds(labels.get(name).map_or("", String::as_str)))
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    /// Behind `{`.
    fn matchers(&mut self, into: &mut Vec<(String, Test)>) -> Result<(), String> {
        loop {
            if self.takes('}') {
                return Ok(());
            }
            let is_quoted = self.quote().is_some();
            let name = if is_quoted { self.string()? } else { self.name(false).ok_or("a label name is expected")? };
            if is_quoted && matches!(self.peek(), Some(',' | '}')) {
                // A quoted word alone is the name of the series.
                into.push(("__name__".to_owned(), Test::Is(name)));
            } else {
                let test = self.test()?;
                into.push((name, test));
            }
            if !self.takes(',') && self.peek() != Some('}') {
                return Err("`,` or `}` is expected behind a matcher".to_owned());
            }
        }
    }

    fn test(&mut self) -> Result<Test, String> {
        let is_not = self.takes('!');
        let is_equal = !is_not && self.takes('=');
        // Without blanks: `= ~` is no operator.
        let is_regex = self.rest.next_if_eq(&'~').is_some();
        if !(is_equal || is_not && (is_regex || self.rest.next_if_eq(&'=').is_some())) {
            return Err("one of `=`, `!=`, `=~`, `!~` is expected behind a label name".to_owned());
        }
        let value = self.string()?;
        let regex = || {
            let built = RegexBuilder::new(&format!("^(?s:{value})$")).size_limit(REGEX_BYTES).build();
            built.map_err(|_| format!("{value:?} is no regular expression, or a too large one"))
        };
        Ok(match (is_equal, is_regex) {
            (true, false) => Test::Is(value),
            (false, false) => Test::IsNot(value),
            (true, true) => Test::Fits(regex()?),
            (false, true) => Test::FitsNot(regex()?),
        })
    }

    fn name(&mut self, has_colons: bool) -> Option<String> {
        self.peek().filter(|c| c.is_ascii_alphabetic() || *c == '_' || (has_colons && *c == ':'))?;
        let mut name = String::new();
        let fits = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || (has_colons && *c == ':');
        while let Some(c) = self.rest.next_if(fits) {
            name.push(c);
        }
        Some(name)
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.quote().ok_or("a quoted text is expected")?;
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next().ok_or("a quoted text has no end")? {
                c if c == quote => return Ok(text),
                '\\' if quote != '`' => text.push(self.escaped()?),
                c => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let code = |reader: &mut Self, digits: usize| {
            let text: String = reader.rest.by_ref().take(digits).collect();
            let number = u32::from_str_radix(&text, 16).ok().filter(|_| text.len() == digits);
            number.and_then(char::from_u32).ok_or_else(|| format!("`{text}` is no character in hex"))
        };
        Ok(match self.rest.next().ok_or("a quoted text has no end")? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            c @ ('\\' | '\'' | '"') => c,
            'x' => code(self, 2)?,
            'u' => code(self, 4)?,
            'U' => code(self, 8)?,
            c => return Err(format!("`\\{c}` is no escape; write `\\\\{c}`")),
        })
    }

    fn quote(&mut self) -> Option<char> {
        self.peek().filter(|c| matches!(c, '"' | '\'' | '`'))
    }

    /// The next character that is no blank.
    fn peek(&mut self) -> Option<char> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        self.rest.peek().copied()
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted) && self.rest.next().is_some()
    }

    fn end(&mut self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(c) => Err(format!("unexpected {c:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(selector: &str) -> Result<bool, String> {
        let labels = [("severity", "critical"), ("team", "a\nb"), ("x.y", "1")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Selector::parse(selector).map(|selector| selector.matches(&labels))
    }

    #[test]
    fn matchers_hold_as_in_prometheus() {
        for (selector, holds) in [
            (r#"{severity="critical"}"#, true),
            (r#"{severity="crit"}"#, false),
            (r#"{severity=~"crit.*"}"#, true),
            (r#"{severity=~"crit"}"#, false),
            (r#"{team=~"a.b"}"#, true),
            (r#" { severity != 'warning' , none = "" , team =~ `a\sb`, } "#, true),
            (r#"{severity!~"crit.*", team!=""}"#, false),
            (r#"{severity="crit\x69cal", team="a\nb"}"#, true),
            (r#"{"x.y"="1"}"#, true),
            // Rules have no name of a series.
            (r#"ALERTS{severity="critical"}"#, false),
            (r#"{"ALERTS"}"#, false),
            (r#"{__name__=~".*", severity=~".+"}"#, true),
        ] {
            assert_eq!(fits(selector), Ok(holds), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_told() {
        for (selector, why) in [
            ("", "non-empty"),
            ("{}", "non-empty"),
            (r#"{a=~".*"}"#, "non-empty"),
            (r#"{a="b""#, "`,` or `}`"),
            (r#"{a="b}"#, "no end"),
            ("{a=b}", "quoted text"),
            ("{a}", "`=`, `!=`"),
            (r#"{a==b}"#, "quoted text"),
            (r#"{a= ~"b"}"#, "quoted text"),
            (r#"{a=~"("}"#, "regular expression"),
            (r#"{a=~"(\\w{100}){100}"}"#, "too large"),
            (r#"{a="\q"}"#, "escape"),
            (r#"{a="b"} c"#, "unexpected"),
            ("{,}", "label name"),
            ("sum(x)", "unexpected"),
        ] {
            assert!(fits(selector).is_err_and(|told| told.contains(why)), "{selector}: {:?}", fits(selector));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"[a{}=!~"'`\\,x 0é]{0,24}"#) {
            let _ = Selector::parse(&text);
        }
    }
}
