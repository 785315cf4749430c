//! Comments in the target language (semconv.md 9.1 `comment_formats`, 9.3 `comment`).
//!
//! Duty: text to lines with header, prefix, footer and indentation, wrapped at words. Guarantee: every line of the text
//! stands behind the prefix. Left to others: Markdown and HTML rendering of the text, which are refused until built.

use crate::yaml::Section;

/// One of `comment_formats`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommentFormat {
    pub(super) header: Option<String>,
    pub(super) prefix: String,
    pub(super) footer: Option<String>,
    pub(super) indent: Indent,
    pub(super) trim: bool,
    pub(super) dots: Dots,
    pub(super) line_length: Option<usize>,
    /// Whether newlines inside a paragraph are blanks.
    pub(super) ignore_newlines: bool,
}

/// `indent_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indent {
    Space,
    Tab,
}

/// What is done about dots at the end of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dots {
    Keep,
    Remove,
    Enforce,
}

impl Default for CommentFormat {
    fn default() -> Self {
        Self {
            header: None,
            prefix: String::new(),
            footer: None,
            indent: Indent::Space,
            trim: true,
            dots: Dots::Keep,
            line_length: None,
            ignore_newlines: false,
        }
    }
}

impl CommentFormat {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        if section.choice("format", &[("markdown", false), ("html", true)]) == Some(true) {
            section.check("format", "html is not supported by weavergen yet; write markdown");
        }
        section.not_yet(&[
            "escape_backslashes",
            "escape_square_brackets",
            "shortcut_reference_link",
            "shortcut_reference_links",
            "indent_first_level_list_items",
            "default_block_code_language",
            "use_go_style_list_indent",
            "old_style_paragraph",
            "omit_closing_li",
            "inline_code_snippet",
            "block_code_snippet",
        ]);
        let remove = section.boolean("remove_trailing_dots").unwrap_or(false);
        let enforce = section.boolean("enforce_trailing_dots").unwrap_or(false);
        let dots = match (remove, enforce) {
            (true, true) => {
                section.check("enforce_trailing_dots", "contradicts remove_trailing_dots; set one of them");
                Dots::Keep
            }
            (true, false) => Dots::Remove,
            (false, true) => Dots::Enforce,
            (false, false) => Dots::Keep,
        };
        let wrap = section.block("word_wrap");
        let line_length = wrap.number("line_length", 1..=10_000).and_then(|n| usize::try_from(n).ok());
        Self {
            header: section.text("header"),
            prefix: section.text("prefix").unwrap_or_default(),
            footer: section.text("footer"),
            indent: section.choice("indent_type", &INDENTS).unwrap_or(default.indent),
            trim: section.boolean("trim").unwrap_or(default.trim),
            dots,
            line_length,
            ignore_newlines: wrap.boolean("ignore_newlines").unwrap_or(false),
        }
    }

    /// `text` as a comment whose lines after the first are indented by `indent` units: the first stands where the
    /// template put it.
    pub(super) fn write(&self, text: &str, indent: usize) -> String {
        let text = if self.trim { text.trim() } else { text };
        let text = match self.dots {
            Dots::Keep => text.to_owned(),
            Dots::Remove => text.trim_end_matches('.').to_owned(),
            Dots::Enforce if text.is_empty() || text.ends_with('.') => text.to_owned(),
            Dots::Enforce => format!("{text}."),
        };
        let unit = if self.indent == Indent::Tab { "\t" } else { " " };
        let indent = unit.repeat(indent);
        let width = self.line_length.map(|l| l.saturating_sub(indent.chars().count() + self.prefix.chars().count()));
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.header.clone());
        for line in self.wrapped(&text, width) {
            lines.push(format!("{}{line}", self.prefix).trim_end().to_owned());
        }
        lines.extend(self.footer.clone());
        let mut out = String::new();
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                out.push('\n');
                if !line.is_empty() {
                    out.push_str(&indent);
                }
            }
            out.push_str(line);
        }
        out
    }

    fn wrapped(&self, text: &str, width: Option<usize>) -> Vec<String> {
        let paragraphs = if self.ignore_newlines { joined(text) } else { text.lines().map(str::to_owned).collect() };
        let Some(width) = width else { return paragraphs };
        let mut out = Vec::new();
        for paragraph in paragraphs {
            // What is indented already (code, lists) keeps its first indentation.
            let lead: String = paragraph.chars().take_while(|c| c.is_whitespace()).collect();
            let mut line = lead;
            let mut has_word = false;
            for word in paragraph.split_whitespace() {
                if has_word && line.chars().count() + 1 + word.chars().count() > width {
                    out.push(std::mem::take(&mut line));
                    has_word = false;
                }
                if has_word {
                    line.push(' ');
                }
                line.push_str(word);
                has_word = true;
            }
            out.push(line);
        }
        out
    }
}

/// Words of `indent_type`.
pub(super) const INDENTS: [(&str, Indent); 2] = [("space", Indent::Space), ("tab", Indent::Tab)];

/// Paragraphs, each on one line, with an empty line between.
fn joined(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            out.push(String::new());
            open = false;
        } else if open {
            let last = out.last_mut().expect("open means that a line was pushed");
            last.push(' ');
            last.push_str(line.trim());
        } else {
            out.push(line.trim_end().to_owned());
            open = true;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_stands_behind_the_prefix_and_the_first_where_the_template_put_it() {
        let format = CommentFormat {
            header: Some("/**".into()),
            prefix: " * ".into(),
            footer: Some(" */".into()),
            ..CommentFormat::default()
        };
        assert_eq!(format.write("one\n\ntwo\n", 4), "/**\n     * one\n     *\n     * two\n     */");
    }

    #[test]
    fn lines_are_wrapped_at_words_within_the_length() {
        let format = CommentFormat { prefix: "// ".into(), line_length: Some(14), ..CommentFormat::default() };
        assert_eq!(
            format.write("the quick brown fox incomprehensibly", 0),
            "// the quick\n// brown fox\n// incomprehensibly"
        );
        let joined = CommentFormat { ignore_newlines: true, dots: Dots::Enforce, line_length: None, ..format };
        assert_eq!(joined.write("a\nb\n\nc", 0), "// a b\n//\n// c.");
    }
}
