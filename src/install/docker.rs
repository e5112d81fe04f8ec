//! Docker's `daemon.json`: `runtimes.NAME.path`. What is not usk's stays byte for byte: members have an order, and people indent.

use std::ops::Range;

use anyhow::{Context, Result};
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Map, Value, json};

use super::Change;

const RUNTIMES: &str = "runtimes";
const NO_OBJECT: &str = "it is no JSON object";

pub(super) fn edit(old: Option<&str>, name: &str, change: Change<'_>) -> Result<String> {
    let text = old.filter(|text| !text.trim().is_empty()).unwrap_or("{}\n");
    let settings: Map<String, Value> = serde_json::from_str(text).context(NO_OBJECT)?;
    let runtimes = settings.get(RUNTIMES).map(|runtimes| runtimes.as_object());
    let runtimes =
        runtimes.map(|runtimes| runtimes.context("its runtimes are no JSON object")).transpose()?;
    let known = runtimes.and_then(|runtimes| runtimes.get(name));
    let whole = Object::at(text, blanks(text))?;
    let inner = || whole.member(RUNTIMES).map(|runtimes| Object::at(text, runtimes.value.start)).transpose();
    match change {
        Change::Set(path) => {
            let runtime = json!({ "path": path });
            if known == Some(&runtime) {
                return Ok(text.to_owned());
            }
            match inner()? {
                Some(inner) => inner.with(name, &shown(&runtime)),
                None => whole.with(RUNTIMES, &shown(&json!({ name: runtime }))),
            }
        }
        Change::Remove => match inner()? {
            Some(inner) if known.is_some() && inner.members.len() > 1 => inner.without(name),
            Some(_) if known.is_some() => whole.without(RUNTIMES),
            _ => Ok(text.to_owned()),
        },
    }
}

/// Objects in one line, with blanks.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{}: {}", json!(name), shown(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// An object in a text that is JSON.
struct Object<'a> {
    text: &'a str,
    /// Between its braces.
    inside: Range<usize>,
    members: Vec<Member>,
}

/// A member of an object, by bytes of the text.
struct Member {
    name: String,
    /// Where the name begins.
    start: usize,
    value: Range<usize>,
}

impl Object<'_> {
    /// The one that begins at this byte.
    fn at(text: &str, start: usize) -> Result<Object<'_>> {
        let mut members = Vec::new();
        let mut at = start + 1;
        loop {
            at += blanks(&text[at..]);
            match text.as_bytes().get(at).context(NO_OBJECT)? {
                b'}' => return Ok(Object { text, inside: start + 1..at, members }),
                b',' => at += 1,
                _ => {
                    let name = at..end_of_value(text, at);
                    // After the colon.
                    let value = name.end + blanks(&text[name.end..]) + 1;
                    let value = value + blanks(&text[value..]);
                    let value = value..end_of_value(text, value);
                    at = value.end;
                    members.push(Member {
                        name: serde_json::from_str(&text[name.clone()]).context(NO_OBJECT)?,
                        start: name.start,
                        value,
                    });
                }
            }
        }
    }

    /// Of several with this name the last counts.
    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().rfind(|member| member.name == name)
    }

    /// The text with this member set: where it is, or after the others and indented as the first.
    fn with(&self, name: &str, value: &str) -> Result<String> {
        let named = format!("{}: {value}", json!(name));
        let (place, new) = match (self.member(name), self.members.first(), self.members.last()) {
            (Some(member), ..) => (member.value.clone(), value.to_owned()),
            (None, Some(first), Some(last)) => {
                let indent = &self.text[self.inside.start..first.start];
                (last.value.end..last.value.end, format!(",{indent}{named}"))
            }
            _ => (self.inside.clone(), format!(" {named} ")),
        };
        Ok(self.replaced(place, &new))
    }

    /// The text without this member and the comma that it needs.
    fn without(&self, name: &str) -> Result<String> {
        let index = self.members.iter().rposition(|member| member.name == name);
        let index = index.context("it has no such member")?;
        let end = self.members[index].value.end;
        let place = match (index.checked_sub(1), self.members.get(index + 1)) {
            (Some(before), _) => self.members[before].value.end..end,
            (None, Some(after)) => self.members[index].start..after.start,
            (None, None) => self.inside.clone(),
        };
        Ok(self.replaced(place, ""))
    }

    fn replaced(&self, place: Range<usize>, new: &str) -> String {
        let mut text = self.text.to_owned();
        text.replace_range(place, new);
        text
    }
}

/// How many bytes of white space a text begins with.
fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len()
}

/// Where the value ends that begins at this byte.
fn end_of_value(text: &str, start: usize) -> usize {
    let mut values = Deserializer::from_str(&text[start..]).into_iter::<IgnoredAny>();
    values.next();
    start + values.byte_offset()
}
