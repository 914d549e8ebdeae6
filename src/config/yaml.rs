//! YAML (so JSON too) as a tree in which everything knows its position. The only file that names
//! the YAML crate.
//!
//! The tree is made of the parser's events and not by `Deserialize`, which stops at the first
//! fault: an operator wants all of them at once. Scalars stay text, as written; whoever reads a
//! key knows what it must be, so `no`, `on`, `010` and `1e3` are never anything but themselves.

use std::collections::HashMap;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::fault::Position;

/// One value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing: `~`, `null`, or no text at all.
    Null,
    /// Text, number or boolean, as written.
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the file, repetitions kept.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

/// Why a text is no YAML that we take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxFault {
    pub(super) at: Position,
    pub(super) what: String,
}

impl Node {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "empty",
            Value::Scalar(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads one document; an empty one is [`Value::Null`].
///
/// # Errors
/// The first thing that is no YAML: after it nothing can be trusted. Also tags, a second document,
/// keys that are no text, and bounds of depth and size.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxFault> {
    let mut builder = Builder::default();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| {
            let at = Position { line: small(error.marker().line()), column: small(error.marker().col() + 1) };
            let what = error.info();
            let what = match unquoted(text.lines().nth(error.marker().line().saturating_sub(1))) {
                Some(hint) => format!("{what}; {hint}"),
                None => what,
            };
            SyntaxFault { at, what }
        })?;
        builder.take(event, &span)?;
    }
    Ok(builder.root.unwrap_or(Node { at: Position { line: 1, column: 1 }, value: Value::Null }))
}

/// What operators write without its quotes, and YAML reads otherwise.
fn unquoted(line: Option<&str>) -> Option<&'static str> {
    let line = line?;
    let bare = |text: &str| {
        let before = line.split_once(text).map(|(before, _)| before);
        before.is_some_and(|before| ['"', '\''].iter().all(|quote| before.matches(*quote).count() % 2 == 0))
    };
    if bare("${") {
        return Some("a value with `${…}` in it must be quoted inside of braces: \"${env:NAME}\"");
    }
    bare("*:").then_some("the access point `*` must be quoted: \"*\"")
}

/// Levels of lists and maps; a configuration has six.
const MAX_DEPTH: usize = 32;
/// Nodes, those that aliases repeat included: a bound on what `*alias` can unfold to.
const MAX_NODES: usize = 100_000;

/// Puts the parser's events together.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    documents: usize,
    nodes: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    at: Position,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Position)> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), SyntaxFault> {
        let at = Position { line: small(span.start.line()), column: small(span.start.col() + 1) };
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 { Err(fault(at, "a second document begins")) } else { Ok(()) }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return Err(fault(at, "YAML tags are not supported"));
                }
                let null = style == ScalarStyle::Plain
                    && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Scalar(text.into_owned()) };
                self.place(Node { at, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(at, anchor, tag.is_some(), Inside::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(at, anchor, tag.is_some(), Inside::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(fault(at, "an alias stands inside what it stands for"));
                };
                self.nodes += weight(&node);
                self.place(Node { at, value: node.value }, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: Position, anchor: usize, tagged: bool, inside: Inside) -> Result<(), SyntaxFault> {
        if tagged {
            return Err(fault(at, "YAML tags are not supported"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(fault(at, "lists and maps are nested too deep"));
        }
        self.open.push(Open { at, anchor, inside });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxFault> {
        let Some(Open { at, anchor, inside }) = self.open.pop() else { return Ok(()) };
        let value = match inside {
            Inside::List(nodes) => Value::List(nodes),
            Inside::Map { entries, .. } => Value::Map(entries),
        };
        self.place(Node { at, value }, anchor)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxFault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(fault(node.at, "the document is too large"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { inside: Inside::List(nodes), .. }) => nodes.push(node),
            Some(Open { inside: Inside::Map { entries, key }, .. }) => match key.take() {
                Some((key, key_at)) => entries.push(Entry { key, key_at, value: node }),
                None => match node.value {
                    Value::Scalar(text) => *key = Some((text, node.at)),
                    _ => return Err(fault(node.at, "a key must be a text")),
                },
            },
        }
        Ok(())
    }
}

/// How many nodes a node holds, itself included.
fn weight(node: &Node) -> usize {
    1 + match &node.value {
        Value::Null | Value::Scalar(_) => 0,
        Value::List(nodes) => nodes.iter().map(weight).sum(),
        Value::Map(entries) => entries.iter().map(|entry| weight(&entry.value)).sum(),
    }
}

fn fault(at: Position, what: &str) -> SyntaxFault {
    SyntaxFault { at, what: what.to_owned() }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tree as one line, with positions.
    fn line(node: &Node) -> String {
        let at = format!("{}:{}", node.at.line, node.at.column);
        match &node.value {
            Value::Null => format!("{at} null"),
            Value::Scalar(text) => format!("{at} {text:?}"),
            Value::List(nodes) => format!("{at} [{}]", nodes.iter().map(line).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| {
                    format!(
                        "{} {}:{} = {}",
                        entry.key,
                        entry.key_at.line,
                        entry.key_at.column,
                        line(&entry.value)
                    )
                });
                format!("{at} {{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(node) => line(&node),
            Err(fault) => format!("{}:{}! {}", fault.at.line, fault.at.column, fault.what),
        }
    }

    #[test]
    fn everything_knows_its_position_and_stays_text() {
        assert_eq!(
            read("on: no\nlist:\n  - 010\n  - {a: '~', a: 1e3}\nempty:\n"),
            "1:1 {on 1:1 = 1:5 \"no\", list 2:1 = 3:3 [3:5 \"010\", 4:5 {a 4:6 = 4:9 \"~\", a 4:14 = 4:17 \"1e3\"}], \
             empty 5:1 = 5:6 null}"
        );
        assert_eq!(read("{\"a\": [true]}"), "1:1 {a 1:2 = 1:7 [1:8 \"true\"]}");
        assert_eq!(read("# nothing\n"), "1:1 null");
    }

    #[test]
    fn aliases_stand_where_they_are_used_and_cannot_explode() {
        assert_eq!(read("a: &x [b]\nc: *x\n"), "1:1 {a 1:1 = 1:7 [1:8 \"b\"], c 2:1 = 2:4 [1:8 \"b\"]}");
        assert_eq!(read("a: &x [*x]\n"), "1:8! an alias stands inside what it stands for");
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            let repeat = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.extend(["a", &n.to_string(), ": &a", &n.to_string(), " [", &repeat, "]\n"]);
        }
        assert!(read(&bomb).ends_with("the document is too large"), "{}", read(&bomb));
    }

    #[test]
    fn what_is_no_yaml_of_ours_is_one_fault_with_a_position() {
        for (text, expected) in [
            ("a: [1, 2\nb: 3\n", "2:"),
            ("a: 1\n b: 2\n", "2:"),
            ("a: \"x\n", "1:4!"),
            ("a: *nobody\n", "1:4! "),
            ("a: !secret x\n", "1:12! YAML tags are not supported"),
            ("a: 1\n---\nb: 2\n", "2:1! a second document begins"),
            ("? [a]\n: 1\n", "1:3! a key must be a text"),
            ("a:\n\tb: 1\n", "2:"),
        ] {
            assert!(read(text).starts_with(expected) && read(text).contains('!'), "{text:?}: {}", read(text));
        }
        let deep = read(&format!("{}{}", "[".repeat(40), "]".repeat(40)));
        assert!(deep.ends_with("! lists and maps are nested too deep"), "{deep}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-a:{}\\[\\], \n&*!|>'\"#?%@0~]{0,60}") {
            drop(parse(&text));
        }
    }
}
