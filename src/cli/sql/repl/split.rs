//! A text as statements and meta commands.
//!
//! Duty: cut at each `;` that ends a statement, and take lines that begin with `\` or `.` between statements as meta
//! commands. Guarantee: it cuts where the gateway's tokenizer sees a semicolon: not in quotes, comments or `$tag$` texts.
//! Left to others: what a statement says (`query`), what a meta command does (`meta`).

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A line, without the blanks around it.
    Meta(String),
    /// A statement, without its `;`.
    Sql(String),
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// In its order.
    pub items: Vec<Item>,
    /// A statement that is not ended; empty if there is none.
    pub rest: String,
}

/// Cuts `text`.
pub fn split(text: &str) -> Split {
    let mut split = Split::default();
    let (mut start, mut at) = (0, 0);
    let mut is_line_start = true;
    while let Some(c) = text[at..].chars().next() {
        if is_line_start && is_meta(&text[at..]) && is_blank(&text[start..at]) {
            let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
            split.items.push(Item::Meta(text[at..end].trim().to_owned()));
            (start, at) = (end, end);
            continue;
        }
        if c == ';' {
            statement(&text[start..at], &mut split.items);
            at += 1;
            // What follows a statement in its line may be a meta command too.
            (start, is_line_start) = (at, true);
            continue;
        }
        let next = after(text, at);
        is_line_start = text[at..next].ends_with('\n') || (is_line_start && c.is_whitespace());
        at = next;
    }
    if !is_blank(&text[start..]) {
        split.rest = text[start..].trim().to_owned();
    }
    split
}

/// All of `text`, its last statement also without a `;`.
pub fn all(text: &str) -> Vec<Item> {
    let Split { mut items, rest } = split(text);
    statement(&rest, &mut items);
    items
}

fn statement(text: &str, items: &mut Vec<Item>) {
    if !is_blank(text) {
        items.push(Item::Sql(text.trim().to_owned()));
    }
}

fn is_meta(text: &str) -> bool {
    let mut chars = text.chars();
    match chars.next() {
        Some('\\') => true,
        Some('.') => chars.next().is_some_and(|c| c.is_ascii_alphabetic()),
        _ => false,
    }
}

/// Whether `text` has nothing but blanks and comments.
fn is_blank(text: &str) -> bool {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let is_comment = text[at..].starts_with("--") || text[at..].starts_with("/*");
        if !is_comment && !c.is_whitespace() {
            return false;
        }
        let next = after(text, at);
        // A comment without its end is a statement that is being typed.
        if is_comment && text[at..].starts_with("/*") && !text[..next].ends_with("*/") {
            return false;
        }
        at = next;
    }
    true
}

/// Where the token that begins at `at` ends: a quoted text, a comment, or one character.
fn after(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let c = rest.chars().next().expect("callers look at a character");
    let before = text[..at].chars().next_back();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let end = match c {
        '\'' => {
            let escapes = before.is_some_and(|c| matches!(c, 'e' | 'E'))
                && !text[..at - 1].chars().next_back().is_some_and(is_word);
            quoted(rest, '\'', escapes)
        }
        '"' => quoted(rest, '"', false),
        '-' if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |end| end + 1),
        '/' if rest.starts_with("/*") => block(rest),
        '$' if !before.is_some_and(is_word) => match tag(rest) {
            Some(tag) => rest[tag.len()..].find(tag).map_or(rest.len(), |end| tag.len() + end + tag.len()),
            None => 1,
        },
        c => c.len_utf8(),
    };
    at + end
}

/// Length of the text in `mark`, which stands for itself if it is doubled; all of it if it has no end.
fn quoted(text: &str, mark: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == mark {
            match chars.peek() {
                Some((_, next)) if *next == mark => drop(chars.next()),
                _ => return at + mark.len_utf8(),
            }
        }
    }
    text.len()
}

/// Length of a block comment, in which others may be nested.
fn block(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += c.len_utf8();
        }
    }
    text.len()
}

/// `$$` or `$tag$` at the beginning of `text`.
fn tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let name = &text[1..end - 1];
    let is_name =
        name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| &text[..end])
}
