//! Characters, references and tags of XML.
//!
//! Duty: what quick-xml leaves unchecked: names, attributes, references, forbidden characters. Guarantee: a fault names the
//! byte where it is; one resolved character comes from one range of bytes. Left to others: elements (`xml`).

use std::ops::Range;

/// Where in the text something is not XML, and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) byte: usize,
    pub(crate) message: String,
}

/// An attribute as written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawAttribute<'a> {
    pub(crate) name: &'a str,
    /// Bytes of its value in the text, quotes excluded.
    pub(crate) value: Range<usize>,
}

/// A start tag as written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    pub(crate) name: &'a str,
    pub(crate) attributes: Vec<RawAttribute<'a>>,
}

/// Takes one character and the bytes it came from.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(char, Range<usize>);

/// The last character boundary at or before `byte`.
pub(crate) fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// The first character that XML 1.0 does not know.
pub(crate) fn forbidden(text: &str) -> Option<usize> {
    text.char_indices().find(|(_, character)| !is_char(*character)).map(|(byte, _)| byte)
}

fn is_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..)
}

/// Cuts `text[start..end]`, a start tag without its brackets, into name and attributes.
pub(crate) fn tag(text: &str, start: usize, end: usize) -> Result<Tag<'_>, Fault> {
    let mut byte = start;
    let name = name(text, &mut byte, end)
        .ok_or_else(|| fault(start.saturating_sub(1), "a `<` that begins no tag; in text write `&lt;`"))?;
    let mut attributes = Vec::new();
    loop {
        let blank = skip(text, &mut byte, end);
        if byte >= end {
            return Ok(Tag { name, attributes });
        }
        let from = byte;
        let hint = format!("in the tag `{name}`; if no tag is meant, write `&lt;` for `<`");
        if !blank {
            return Err(fault(byte, format!("a blank is missing {hint}")));
        }
        let name = self::name(text, &mut byte, end).ok_or_else(|| fault(from, format!("no attribute name {hint}")))?;
        skip(text, &mut byte, end);
        if !text[byte..end].starts_with('=') {
            return Err(fault(from, format!("the attribute `{name}` has no value {hint}")));
        }
        byte += 1;
        skip(text, &mut byte, end);
        let quote = text[byte..end].chars().next().filter(|c| matches!(c, '"' | '\''));
        let Some(quote) = quote else {
            return Err(fault(byte, format!("the value of `{name}` is not quoted {hint}")));
        };
        byte += 1;
        let Some(length) = text[byte..end].find(quote) else {
            return Err(fault(from, format!("the value of `{name}` has no end {hint}")));
        };
        attributes.push(RawAttribute { name, value: byte..byte + length });
        byte += length + 1;
    }
}

fn skip(text: &str, byte: &mut usize, end: usize) -> bool {
    let from = *byte;
    while *byte < end && matches!(text.as_bytes()[*byte], b' ' | b'\t' | b'\n' | b'\r') {
        *byte += 1;
    }
    *byte > from
}

/// A name with at most one colon, by the productions of XML 1.0 and Namespaces 1.0.
fn name<'a>(text: &'a str, byte: &mut usize, end: usize) -> Option<&'a str> {
    let rest = &text[*byte..end];
    let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    let name = &rest[..length];
    let mut parts = name.split(':');
    let good = parts.clone().count() <= 2 && parts.all(|part| part.chars().next().is_some_and(is_name_start));
    *byte += length;
    good.then_some(name)
}

fn is_name_start(c: char) -> bool {
    matches!(c, 'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

fn is_name(c: char) -> bool {
    is_name_start(c)
        || matches!(c, ':' | '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// An attribute's value: references resolved, white space characters as blanks.
pub(crate) fn attribute(text: &str, range: Range<usize>) -> Result<String, Fault> {
    let raw = &text[range.clone()];
    if let Some(byte) = raw.find('<') {
        return Err(fault(range.start + byte, "a raw `<` in an attribute; write `&lt;`"));
    }
    let mut value = String::with_capacity(raw.len());
    let read = references(raw, &mut |character, from| {
        let blank = matches!(character, '\t' | '\n') && !raw[from].starts_with('&');
        value.push(if blank { ' ' } else { character });
    });
    read.map_err(|fault| Fault { byte: range.start + fault.byte, ..fault })?;
    Ok(value)
}

/// The characters of `raw` between tags: as [`references`] reads them, and without the end of a CDATA section.
pub(crate) fn text(raw: &str, sink: Sink<'_>) -> Result<(), Fault> {
    match raw.find("]]>") {
        Some(byte) => Err(fault(byte, "`]]>` in text; write `]]&gt;`")),
        None => references(raw, sink),
    }
}

/// The characters of `raw` with references resolved and line ends as one `\n`.
fn references(raw: &str, sink: Sink<'_>) -> Result<(), Fault> {
    let mut byte = 0;
    while let Some(character) = raw[byte..].chars().next() {
        if character == '&' {
            let end =
                raw[byte..].find(';').ok_or_else(|| fault(byte, "a `&` that begins no reference; write `&amp;`"))?;
            let name = &raw[byte + 1..byte + end];
            let character = reference(name)
                .ok_or_else(|| fault(byte, format!("`&{name};` is no reference that XML knows without a DOCTYPE")))?;
            sink(character, byte..byte + end + 1);
            byte += end + 1;
        } else {
            let length = line_end(&raw[byte..]).unwrap_or(character.len_utf8());
            let character = if character == '\r' { '\n' } else { character };
            sink(character, byte..byte + length);
            byte += length;
        }
    }
    Ok(())
}

/// The characters of a CDATA section, line ends as one `\n`.
pub(crate) fn literal(raw: &str, sink: Sink<'_>) {
    let mut byte = 0;
    while let Some(character) = raw[byte..].chars().next() {
        let length = line_end(&raw[byte..]).unwrap_or(character.len_utf8());
        sink(if character == '\r' { '\n' } else { character }, byte..byte + length);
        byte += length;
    }
}

fn line_end(rest: &str) -> Option<usize> {
    rest.starts_with("\r\n").then_some(2)
}

fn reference(name: &str) -> Option<char> {
    let number = match name {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    let good = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    good.then(|| u32::from_str_radix(digits, radix).ok()).flatten().and_then(char::from_u32).filter(|c| is_char(*c))
}

fn fault(byte: usize, message: impl Into<String>) -> Fault {
    Fault { byte, message: message.into() }
}

/// The byte of `text` where the `column`th character (from 1) of the character data that begins at byte `start` stands.
///
/// Walks CDATA sections, comments and references as the reader does; past the end: the end.
pub(crate) fn walk(text: &str, start: usize, end: usize, column: u32) -> usize {
    let mut byte = start;
    let mut left = column.saturating_sub(1);
    let mut literal = false;
    while byte < end {
        let rest = &text[byte..end];
        let jump = match literal {
            true => rest.starts_with("]]>").then_some((3, false)),
            false if rest.starts_with("<![CDATA[") => Some((9, true)),
            false if rest.starts_with("<!--") => Some((rest.find("-->").map_or(rest.len(), |at| at + 3), false)),
            false if rest.starts_with("<?") => Some((rest.find("?>").map_or(rest.len(), |at| at + 2), false)),
            false => None,
        };
        if let Some((length, inside)) = jump {
            byte += length;
            literal = inside;
            continue;
        }
        if left == 0 {
            return byte;
        }
        left -= 1;
        byte += match rest.chars().next() {
            Some('&') if !literal => rest.find(';').map_or(1, |at| at + 1),
            Some(character) => line_end(rest).unwrap_or(character.len_utf8()),
            None => 1,
        };
    }
    end.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_name_and_quoted_attributes() {
        let text = r#"<bpmn:task id = "a" name='b "c"'>"#;
        let tag = tag(text, 1, text.len() - 1).unwrap();
        assert_eq!(tag.name, "bpmn:task");
        let values: Vec<_> = tag.attributes.iter().map(|a| (a.name, &text[a.value.clone()])).collect();
        assert_eq!(values, [("id", "a"), ("name", r#"b "c""#)]);
    }

    #[test]
    fn what_is_no_tag_is_refused_where_it_is() {
        let byte = |inner: &str| {
            let text = format!("<{inner}>");
            tag(&text, 1, text.len() - 1).unwrap_err().byte
        };
        assert_eq!(byte(" b"), 0);
        assert_eq!(byte("1b"), 0);
        assert_eq!(byte("a:b:c"), 0);
        assert_eq!(byte("b and c"), 3);
        assert_eq!(byte("b x=1"), 5);
        assert_eq!(byte("b x='1'y='2'"), 8);
        assert_eq!(byte("b x='1"), 3);
    }

    #[test]
    fn references_resolve_and_line_ends_become_one() {
        let text = |raw: &str| {
            let mut out = String::new();
            text(raw, &mut |character, _| out.push(character)).map(|()| out)
        };
        assert_eq!(text("a &lt;&#x26;&#38;\r\nb\rc").unwrap(), "a <&&\nb\nc");
        for bad in ["a & b", "&nbsp;", "&#0;", "&#xD800;", "&#+65;", "&;", "]]>"] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert_eq!(attribute("x\ty&#10;", 0..8).unwrap(), "x y\n");
        assert_eq!(attribute("=a[b[1]]>2", 0..10).unwrap(), "=a[b[1]]>2", "forbidden between tags only");
    }

    #[test]
    fn a_column_of_an_expression_is_found_behind_references_comments_and_cdata() {
        let text = "a &lt; <!-- no -->b<![CDATA[ && c]]> d";
        let found = |column| &text[walk(text, 0, text.len(), column)..][..1];
        let read = "a < b && c d";
        for (index, character) in read.char_indices() {
            let expected = if character == '<' { "&" } else { &read[index..=index] };
            assert_eq!(found(index as u32 + 1), expected, "column {}", index + 1);
        }
        assert_eq!(walk(text, 0, text.len(), 99), text.len());
    }

    #[test]
    fn control_characters_are_found() {
        assert_eq!(forbidden("a\u{1}"), Some(1));
        assert_eq!(forbidden("a\t\u{fffe}"), Some(2));
        assert_eq!(forbidden("ä\r\n𝄞"), None);
    }
}
