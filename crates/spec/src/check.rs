//! Compares a document's tree with the schema and collects all that does not fit, each with its place and key.
//!
//! A walker of our own instead of a validator's: a validator reports what a rule says, we report what the user should
//! write. What fits comes back as JSON for serde.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::{
    format::Format,
    problem::{Complaint, Place, Problem, alternatives, nearest, quoted},
    shape::Shape,
    tree::{Data, Entry, Node, Scalar, ScalarKind, shown_key},
};

/// What a document is as JSON, without unknown keys; `None` if anything else is wrong with it.
pub(crate) fn check(
    file: &str,
    document: &Node,
    schema: &Value,
    problems: &mut Vec<Problem>,
) -> Option<Value> {
    let mut checker = Checker { file, problems, path: String::new() };
    checker.value(document, document.place, Shape::new(schema, schema))
}

struct Checker<'a> {
    file: &'a str,
    problems: &'a mut Vec<Problem>,
    path: String,
}

impl Checker<'_> {
    /// `key` is the place of the node's key: that of an empty value is of no use to anybody.
    fn value(&mut self, node: &Node, key: Place, shape: Shape<'_>) -> Option<Value> {
        let answer = match &node.data {
            Data::Refused => return None,
            Data::Scalar(scalar) if scalar.kind() == ScalarKind::Null => {
                return self.complain(key, Complaint::new("has no value").expected(shape.expectation()));
            }
            Data::Scalar(scalar) => scalar_value(scalar, shape),
            Data::Sequence(items) if shape.kind() == Some("array") => return self.list(items, shape),
            Data::Mapping(entries) if shape.kind() == Some("object") => {
                return self.mapping(entries, key, shape);
            }
            Data::Sequence(_) => Err(Complaint::new("found a list").expected(shape.expectation())),
            Data::Mapping(_) => Err(Complaint::new("found a mapping").expected(shape.expectation())),
        };
        answer.map_or_else(|complaint| self.complain(node.place, complaint), Some)
    }

    fn list(&mut self, items: &[Node], shape: Shape<'_>) -> Option<Value> {
        let shape = shape.items()?;
        let values: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                self.below(&format!("[{index}]"), |this| this.value(item, item.place, shape))
            })
            .collect();
        values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
    }

    fn mapping(&mut self, entries: &[Entry], place: Place, shape: Shape<'_>) -> Option<Value> {
        let rules = shape.rules(|key| told(entries, key));
        let free = |key: &&str| entries.iter().all(|entry| entry.key != *key);
        let free: Vec<_> = shape.keys().into_iter().filter(free).collect();
        let mut object = Map::new();
        let mut sound = true;
        let mut guesses = Vec::new();
        for entry in entries {
            let Some(inner) = shape.property(&entry.key, &rules) else {
                if !shape.is_open() {
                    guesses.extend(self.unknown_key(entry, &free, shape));
                }
                continue;
            };
            match self.below(&shown_key(&entry.key), |this| this.value(&entry.value, entry.place, inner)) {
                Some(value) => _ = object.insert(entry.key.clone(), value),
                None => sound = false,
            }
        }
        // A mistyped key has a value that we do not know: rules between keys would be guessing.
        sound &= guesses.is_empty();
        let given = |key: &&str| !free.contains(key) || guesses.contains(key);
        sound &= self.missing(place, shape, given);
        sound &= self.alternatives(place, shape, given);
        sound.then_some(Value::Object(object))
    }

    /// Returns the key that was probably meant, so that it is not called missing as well. `free`: keys not given yet.
    fn unknown_key<'s>(&mut self, entry: &Entry, free: &[&'s str], shape: Shape<'s>) -> Option<&'s str> {
        let near = nearest(&entry.key, free.iter().copied());
        let guess = near.map(str::to_owned).or_else(|| shape.find_below(&entry.key));
        let expected = match shape.keys().as_slice() {
            [] => "no key here".to_owned(),
            keys => alternatives(keys, "or"),
        };
        let complaint = Complaint::new("unknown key").expected(expected).nearest(guess);
        self.below(&shown_key(&entry.key), |this| this.complain(entry.place, complaint));
        near
    }

    fn missing(&mut self, place: Place, shape: Shape<'_>, given: impl Fn(&&str) -> bool) -> bool {
        let required = shape.required().into_iter().map(|key| (key, "is missing".to_owned()));
        let needed = shape.keys().into_iter().filter(&given).flat_map(|by| {
            shape.required_by(by).into_iter().map(move |key| (key, format!("is missing; `{by}` needs it")))
        });
        let missing: Vec<_> = required.chain(needed).filter(|(key, _)| !given(key)).collect();
        for (key, message) in &missing {
            let expected = shape.property(key, &[]).map(Shape::expectation);
            let complaint = Complaint { expected, ..Complaint::new(message) };
            self.below(key, |this| this.complain(place, complaint));
        }
        missing.is_empty()
    }

    fn alternatives(&mut self, place: Place, shape: Shape<'_>, given: impl Fn(&&str) -> bool) -> bool {
        let all = shape.alternatives();
        let chosen: Vec<_> = all.iter().copied().filter(&given).collect();
        if all.is_empty() || chosen.len() == 1 {
            return true;
        }
        let message = match chosen.as_slice() {
            [] => "nothing is chosen".to_owned(),
            several => format!("{} exclude each other", alternatives(several, "and")),
        };
        let complaint =
            Complaint::new(message).expected(format!("exactly one of {}", alternatives(&all, "and")));
        self.complain(place, complaint);
        false
    }

    fn below<T>(&mut self, step: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let result = act(self);
        self.path.truncate(length);
        result
    }

    fn complain(&mut self, place: Place, complaint: Complaint) -> Option<Value> {
        self.problems.push(complaint.at(self.file, place, self.path.clone()));
        None
    }
}

/// The text that `key` holds in a mapping.
fn told<'e>(entries: &'e [Entry], key: &str) -> Option<&'e str> {
    let entry = entries.iter().find(|entry| entry.key == key)?;
    match &entry.value.data {
        Data::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

fn scalar_value(scalar: &Scalar, shape: Shape<'_>) -> Result<Value, Complaint> {
    let choices = shape.choices();
    match shape.kind() {
        _ if !choices.is_empty() => choice(&scalar.text, &choices),
        Some("integer") => integer(scalar, shape),
        Some("boolean") => boolean(scalar),
        Some("string") => text(scalar, shape),
        _ => Err(Complaint::new(format!("found {}", quoted(&scalar.text))).expected(shape.expectation())),
    }
}

fn choice(text: &str, choices: &[&str]) -> Result<Value, Complaint> {
    if choices.contains(&text) {
        return Ok(text.into());
    }
    let guess = nearest(text, choices.iter().copied()).map(str::to_owned);
    let complaint = Complaint::new(format!("unknown value {}", quoted(text)));
    Err(complaint.expected(alternatives(choices, "or")).nearest(guess))
}

fn integer(scalar: &Scalar, shape: Shape<'_>) -> Result<Value, Complaint> {
    let (least, most) = (shape.bound("minimum"), shape.bound("maximum"));
    let complaint = |message: String| Complaint::new(message).expected(shape.expectation());
    let digits = scalar.text.strip_prefix(['-', '+']).unwrap_or(&scalar.text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(complaint(format!("{} is not a whole number", quoted(&scalar.text))));
    }
    if !scalar.plain {
        let bare = scalar.text.clone();
        return Err(complaint(format!("{} is text", quoted(&bare))).nearest(Some(bare)));
    }
    // Beyond i64 it is beyond every limit too.
    let beyond = if scalar.text.starts_with('-') { i64::MIN } else { i64::MAX };
    let number = scalar.text.parse().unwrap_or(beyond);
    if least.is_some_and(|least| number < least) {
        return Err(complaint(format!("{} is too small", scalar.text)));
    }
    if most.is_some_and(|most| number > most) {
        return Err(complaint(format!("{} is too large", scalar.text)));
    }
    Ok(number.into())
}

fn boolean(scalar: &Scalar) -> Result<Value, Complaint> {
    if let ScalarKind::Bool(value) = scalar.kind() {
        return Ok(value.into());
    }
    let guess = match scalar.text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "y" => Some("true".to_owned()),
        "no" | "off" | "false" | "n" => Some("false".to_owned()),
        _ => None,
    };
    let complaint = Complaint::new(format!("{} is neither true nor false", quoted(&scalar.text)));
    Err(complaint.expected("`true` or `false`").nearest(guess))
}

fn text(scalar: &Scalar, shape: Shape<'_>) -> Result<Value, Complaint> {
    let format = shape.format();
    // A number without a unit is told as that, not as the wrong type.
    let measured = matches!(format, Some(Format::Size | Format::Time));
    if scalar.kind() != ScalarKind::Text && !measured {
        let complaint = Complaint::new(format!("{} is not text", scalar.text)).expected("text");
        return Err(complaint.nearest(Some(format!("\"{}\"", scalar.text))));
    }
    if let Some(complaint) = format.and_then(|format| format.check(&scalar.text)) {
        return Err(complaint);
    }
    for (keyword, wrong, words) in
        [("x-minimum", Ordering::Less, "less than"), ("x-maximum", Ordering::Greater, "more than")]
    {
        let limit = shape.limit(keyword);
        if let Some(limit) = limit.filter(|limit| compare(format, &scalar.text, limit) == Some(wrong)) {
            let bound = if wrong == Ordering::Less { "at least" } else { "at most" };
            let message = format!("{} is {words} {limit}", quoted(&scalar.text));
            return Err(Complaint::new(message).expected(format!("{bound} {limit}")));
        }
    }
    Ok(scalar.text.as_str().into())
}

fn compare(format: Option<Format>, text: &str, limit: &str) -> Option<Ordering> {
    match format? {
        Format::Size => Some(text.parse::<crate::ByteSize>().ok()?.cmp(&limit.parse().ok()?)),
        Format::Time => Some(text.parse::<crate::Span>().ok()?.cmp(&limit.parse().ok()?)),
        _ => None,
    }
}
