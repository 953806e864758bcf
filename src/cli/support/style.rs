//! Colours, on a terminal only, and never where `NO_COLOR` is set (<https://no-color.org>).

use std::sync::OnceLock;

use super::output;

/// What kind of text it is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Headings.
    Heading,
    /// Names of values, and remarks of the program.
    Quiet,
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// Neither.
    Attention,
    /// The role of a message.
    Role,
    /// A match of a search.
    Match,
}

impl Style {
    /// The text in this style where styles are shown. The text must be escaped already.
    pub(crate) fn paint(self, text: &str) -> String {
        self.paint_if(text, is_shown())
    }

    /// The style of a request's status.
    pub(crate) fn of_status(status: auditlite::Status) -> Self {
        match status {
            auditlite::Status::Completed => Self::Good,
            auditlite::Status::Pending => Self::Attention,
            _ => Self::Bad,
        }
    }

    fn paint_if(self, text: &str, is_shown: bool) -> String {
        // Source: ECMA-48, SGR.
        let code = match self {
            Self::Heading => "1",
            Self::Quiet => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Attention => "33",
            Self::Role => "1;36",
            Self::Match => "1;33",
        };
        if is_shown && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn is_shown() -> bool {
    static IS_SHOWN: OnceLock<bool> = OnceLock::new();
    *IS_SHOWN.get_or_init(|| {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        output::is_terminal() && !is_set("NO_COLOR") && !is_dumb
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_wrap_a_text_where_they_are_shown() {
        assert_eq!(
            Style::Bad.paint_if("failed", true),
            "\u{1b}[31mfailed\u{1b}[0m"
        );
        assert_eq!(Style::Bad.paint_if("failed", false), "failed");
        assert_eq!(Style::Bad.paint_if("", true), "");
    }
}
