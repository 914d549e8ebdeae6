//! A policy document, compiled: JSON in, statements out, every fault at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::pattern::{Case, matches};

/// What all S3 resources begin with; after it the access point, and perhaps `/` and a key.
pub(super) const ARN: &str = "arn:aws:s3:::";

/// A compiled policy document. An empty one grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

/// One statement: all of its actions on all of its resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    /// `s3:Get*`; case does not count.
    pub(super) actions: Vec<String>,
    /// What follows [`ARN`]: `photos`, `photos/*`; `*` for everything.
    pub(super) resources: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// What is wrong with a policy document, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {seen}; expected {expected}")]
pub struct PolicyFault {
    /// Where: `Statement[1].Condition`; for text that is no JSON, `line 3 column 7`.
    pub path: String,
    /// What stands there.
    pub seen: String,
    /// What should.
    pub expected: String,
}

/// What a policy says about one action on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Allowed,
    Denied,
    Silent,
}

impl Policy {
    /// Compiles a document.
    ///
    /// # Errors
    /// Every fault of the document: no JSON, an element that is missing, twice there, of the wrong
    /// form or not supported (Principal, Condition, `NotAction`, `NotResource`, policy variables).
    pub fn parse(json: &str) -> Result<Self, Vec<PolicyFault>> {
        let tree: Tree = serde_json::from_str(json).map_err(|error| vec![not_json(&error)])?;
        let mut faults = Vec::new();
        let statements = document(&tree, &mut faults);
        if faults.is_empty() { Ok(Self { statements }) } else { Err(faults) }
    }

    /// The action patterns as written, for those who warn about misspelt ones.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().flat_map(|statement| &statement.actions).map(String::as_str)
    }

    /// The access points that its resources name: `photos`, or a pattern such as `photos-*`.
    pub fn access_points(&self) -> impl Iterator<Item = &str> {
        let all = self.statements.iter().flat_map(|statement| &statement.resources);
        all.map(|resource| resource.split_once('/').map_or(resource.as_str(), |(bucket, _)| bucket))
    }

    /// Whether an action pattern (`s3:Get*`) covers an action.
    #[must_use]
    pub fn covers(pattern: &str, action: &str) -> bool {
        matches(pattern.as_bytes(), action.as_bytes(), Case::Folds)
    }

    /// What it says of this action on this resource (what follows [`ARN`]); denial wins.
    pub(super) fn ruling(&self, action: &str, resource: &[u8]) -> Ruling {
        let mut ruling = Ruling::Silent;
        for statement in &self.statements {
            if statement.concerns(action, resource) {
                match statement.effect {
                    Effect::Deny => return Ruling::Denied,
                    Effect::Allow => ruling = Ruling::Allowed,
                }
            }
        }
        ruling
    }
}

impl Statement {
    fn concerns(&self, action: &str, resource: &[u8]) -> bool {
        self.actions.iter().any(|pattern| Policy::covers(pattern, action))
            && self.resources.iter().any(|pattern| matches(pattern.as_bytes(), resource, Case::Counts))
    }
}

fn not_json(error: &serde_json::Error) -> PolicyFault {
    // serde_json's message ends in its position, which the path already says.
    let text = error.to_string();
    let seen = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
    PolicyFault {
        path: format!("line {} column {}", error.line(), error.column()),
        seen,
        expected: "a JSON policy document".into(),
    }
}

const DOCUMENT: &[&str] = &["Version", "Id", "Statement"];
const STATEMENT: &[&str] = &["Sid", "Effect", "Action", "Resource"];

fn document(tree: &Tree, faults: &mut Vec<PolicyFault>) -> Vec<Statement> {
    let Some(elements) = Elements::of(tree, "", DOCUMENT, faults) else { return Vec::new() };
    if let Some(version) = elements.find("Version")
        && !matches!(version, Tree::Text(text) if text == "2012-10-17" || text == "2008-10-17")
    {
        fault(faults, "Version", version, "\"2012-10-17\" or \"2008-10-17\"");
    }
    elements.label("Id", faults);
    match elements.find("Statement") {
        None => {
            missing(faults, "Statement", "a statement or a list of them");
            Vec::new()
        }
        Some(Tree::List(list)) if list.is_empty() => {
            missing(faults, "Statement", "at least one statement");
            Vec::new()
        }
        Some(Tree::List(list)) => {
            let numbered = list.iter().enumerate();
            numbered.filter_map(|(n, tree)| statement(tree, &format!("Statement[{n}]"), faults)).collect()
        }
        Some(one) => statement(one, "Statement", faults).into_iter().collect(),
    }
}

fn statement(tree: &Tree, path: &str, faults: &mut Vec<PolicyFault>) -> Option<Statement> {
    let elements = Elements::of(tree, path, STATEMENT, faults)?;
    elements.label("Sid", faults);
    let effect = match elements.find("Effect") {
        Some(Tree::Text(text)) if text == "Allow" => Some(Effect::Allow),
        Some(Tree::Text(text)) if text == "Deny" => Some(Effect::Deny),
        Some(other) => {
            fault(faults, &elements.path("Effect"), other, "\"Allow\" or \"Deny\"");
            None
        }
        None => {
            missing(faults, &elements.path("Effect"), "\"Allow\" or \"Deny\"");
            None
        }
    };
    let actions =
        elements.texts("Action", "an action such as \"s3:GetObject\" or \"s3:Get*\"", faults, action);
    let resources = elements.texts(
        "Resource",
        "\"arn:aws:s3:::ACCESS-POINT\", \"arn:aws:s3:::ACCESS-POINT/KEY\" or \"*\"",
        faults,
        resource,
    );
    Some(Statement { effect: effect?, actions, resources })
}

/// `s3:…` with letters and wildcards, or `*`.
fn action(text: &str) -> Option<String> {
    let well_formed = text == "*"
        || text.split_once(':').is_some_and(|(service, name)| {
            service.eq_ignore_ascii_case("s3")
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'*' || b == b'?')
        });
    well_formed.then(|| text.to_owned())
}

/// What follows the ARN's prefix. Policy variables (`${aws:username}`) are not supported.
fn resource(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    let rest = text.strip_prefix(ARN)?;
    let bucket = rest.split_once('/').map_or(rest, |(bucket, _)| bucket);
    (!bucket.is_empty() && !rest.contains("${")).then(|| rest.to_owned())
}

/// The elements of one object, all known, none twice.
struct Elements<'a> {
    path: &'a str,
    elements: &'a [(String, Tree)],
}

impl<'a> Elements<'a> {
    fn of(tree: &'a Tree, path: &'a str, known: &[&str], faults: &mut Vec<PolicyFault>) -> Option<Self> {
        let Tree::Object(elements) = tree else {
            let path = if path.is_empty() { "the document" } else { path };
            fault(faults, path, tree, "an object");
            return None;
        };
        let this = Self { path, elements };
        for (n, (name, _)) in elements.iter().enumerate() {
            let seen = if !known.contains(&name.as_str()) {
                "this element is not supported"
            } else if elements.iter().take(n).any(|(earlier, _)| earlier == name) {
                "this element is there twice"
            } else {
                continue;
            };
            let expected = format!("only {}, each once", known.join(", "));
            faults.push(PolicyFault { path: this.path(name), seen: seen.into(), expected });
        }
        Some(this)
    }

    fn find(&self, name: &str) -> Option<&'a Tree> {
        self.elements.iter().find(|(element, _)| element == name).map(|(_, tree)| tree)
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// An element that only names: any text.
    fn label(&self, name: &str, faults: &mut Vec<PolicyFault>) {
        match self.find(name) {
            None | Some(Tree::Text(_)) => {}
            Some(other) => fault(faults, &self.path(name), other, "a text"),
        }
    }

    /// A text or a list of at least one, each of a form.
    fn texts(
        &self,
        name: &str,
        expected: &str,
        faults: &mut Vec<PolicyFault>,
        read: fn(&str) -> Option<String>,
    ) -> Vec<String> {
        let path = self.path(name);
        let (trees, many): (&[Tree], bool) = match self.find(name) {
            Some(Tree::List(list)) if !list.is_empty() => (list, true),
            Some(Tree::List(_)) | None => {
                missing(faults, &path, expected);
                return Vec::new();
            }
            Some(one) => (std::slice::from_ref(one), false),
        };
        let mut texts = Vec::with_capacity(trees.len());
        for (n, tree) in trees.iter().enumerate() {
            match tree.text().and_then(read) {
                Some(text) => texts.push(text),
                None if many => fault(faults, &format!("{path}[{n}]"), tree, expected),
                None => fault(faults, &path, tree, expected),
            }
        }
        texts
    }
}

fn missing(faults: &mut Vec<PolicyFault>, path: &str, expected: &str) {
    faults.push(PolicyFault {
        path: path.into(),
        seen: "this element is missing".into(),
        expected: expected.into(),
    });
}

fn fault(faults: &mut Vec<PolicyFault>, path: &str, seen: &Tree, expected: &str) {
    faults.push(PolicyFault { path: path.into(), seen: seen.to_string(), expected: expected.into() });
}

/// JSON as it stands: order and repetitions kept, since a repeated element is a fault here.
#[derive(Debug)]
enum Tree {
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
    /// A number, a boolean, null.
    Other(&'static str),
}

impl Tree {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Object(_) => f.write_str("an object"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Other("a boolean"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Other("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(tree) = seq.next_element()? {
            list.push(tree);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if elements.len() >= MAX_ELEMENTS {
                return Err(A::Error::custom("an object has too many elements"));
            }
            elements.push((key, map.next_value()?));
        }
        Ok(Tree::Object(elements))
    }
}

/// Elements of one object; policies know at most four. Bounds the search for repetitions.
const MAX_ELEMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        Policy::parse(json).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn single_values_are_lists_of_one() {
        let one = r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*"}}"#;
        let many = r#"{"Version": "2012-10-17", "Id": "x", "Statement": [{"Sid": "read", "Effect": "Allow",
            "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::photos/*"]}]}"#;
        assert_eq!(Policy::parse(one), Policy::parse(many));
        let policy = Policy::parse(one).unwrap();
        assert_eq!(policy.actions().collect::<Vec<_>>(), ["s3:GetObject"]);
        assert_eq!(policy.access_points().collect::<Vec<_>>(), ["photos"]);
    }

    #[test]
    fn whatever_is_not_supported_is_a_fault_that_names_its_path() {
        let json = r#"{"Version": "2020-01-01", "Comment": 1, "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}},
            {"Effect": "allow", "Principal": "*", "NotAction": "s3:PutObject", "Resource": ["arn:aws:s3:::", 7]},
            {"Effect": "Deny", "Action": ["kms:Decrypt", "GetObject"], "Resource": "arn:aws:s3:::home/${aws:username}"},
            {"Effect": "Deny", "Action": [], "Resource": "photos/*", "Resource": "*"},
            "Allow"
        ]}"#;
        let element = "this element is not supported; expected only Sid, Effect, Action, Resource, each once";
        let action = "expected an action such as \"s3:GetObject\" or \"s3:Get*\"";
        let resource = "expected \"arn:aws:s3:::ACCESS-POINT\", \"arn:aws:s3:::ACCESS-POINT/KEY\" or \"*\"";
        assert_eq!(
            faults(json),
            [
                "Comment: this element is not supported; expected only Version, Id, Statement, each once".to_owned(),
                "Version: \"2020-01-01\"; expected \"2012-10-17\" or \"2008-10-17\"".to_owned(),
                format!("Statement[0].Condition: {element}"),
                format!("Statement[1].Principal: {element}"),
                format!("Statement[1].NotAction: {element}"),
                "Statement[1].Effect: \"allow\"; expected \"Allow\" or \"Deny\"".to_owned(),
                format!("Statement[1].Action: this element is missing; {action}"),
                format!("Statement[1].Resource[0]: \"arn:aws:s3:::\"; {resource}"),
                format!("Statement[1].Resource[1]: a number; {resource}"),
                format!("Statement[2].Action[0]: \"kms:Decrypt\"; {action}"),
                format!("Statement[2].Action[1]: \"GetObject\"; {action}"),
                format!("Statement[2].Resource: \"arn:aws:s3:::home/${{aws:username}}\"; {resource}"),
                "Statement[3].Resource: this element is there twice; expected only Sid, Effect, Action, Resource, each once".to_owned(),
                format!("Statement[3].Action: this element is missing; {action}"),
                format!("Statement[3].Resource: \"photos/*\"; {resource}"),
                "Statement[4]: \"Allow\"; expected an object".to_owned(),
            ]
        );
    }

    #[test]
    fn text_that_is_no_document_is_one_fault() {
        assert_eq!(
            faults("{\n \"Statement\": [}"),
            ["line 2 column 16: expected value; expected a JSON policy document"]
        );
        assert_eq!(faults("[]"), ["the document: a list; expected an object"]);
        assert_eq!(
            faults("{}"),
            ["Statement: this element is missing; expected a statement or a list of them"]
        );
        assert_eq!(
            faults("{\"Statement\": []}"),
            ["Statement: this element is missing; expected at least one statement"]
        );
        let deep = "[".repeat(100_000);
        assert_eq!(faults(&deep).len(), 1);
    }

    #[test]
    fn explicit_denial_wins_and_silence_is_silence() {
        let policy = Policy::parse(
            r#"{"Statement": [
                {"Effect": "Deny", "Action": "s3:*Object", "Resource": "arn:aws:s3:::photos/secret/*"},
                {"Effect": "Allow", "Action": "S3:get*", "Resource": "arn:aws:s3:::photos/*"}
            ]}"#,
        )
        .unwrap();
        assert_eq!(policy.ruling("s3:GetObject", b"photos/a"), Ruling::Allowed);
        assert_eq!(policy.ruling("s3:GetObject", b"photos/secret/a"), Ruling::Denied);
        assert_eq!(policy.ruling("s3:GetObject", b"photos"), Ruling::Silent);
        assert_eq!(policy.ruling("s3:GetObject", b"Photos/a"), Ruling::Silent);
        assert_eq!(policy.ruling("s3:PutObject", b"photos/a"), Ruling::Silent);
    }
}
