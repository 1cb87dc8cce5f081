//! Questions to a JSON Schema, as far as ours goes. [`crate::check`] asks them.

use serde_json::{Map, Value};

use crate::{format::Format, problem::alternatives};

/// A schema node: what stands beside a `$ref` comes first, then what it names.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    root: &'a Value,
    own: &'a Value,
    named: Option<&'a Value>,
}

impl<'a> Shape<'a> {
    pub(crate) fn new(root: &'a Value, own: &'a Value) -> Self {
        let name = own.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'));
        Self { root, own, named: name.and_then(|name| root.pointer(name)) }
    }

    pub(crate) fn keyword(self, name: &str) -> Option<&'a Value> {
        self.own.get(name).or_else(|| self.named?.get(name))
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.keyword(name)?.as_str()
    }

    fn list(self, name: &str) -> &'a [Value] {
        self.keyword(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn kind(self) -> Option<&'a str> {
        self.text("type")
    }

    pub(crate) fn format(self) -> Option<Format> {
        self.text("format").and_then(Format::named)
    }

    pub(crate) fn bound(self, name: &str) -> Option<i64> {
        self.keyword(name)?.as_i64()
    }

    pub(crate) fn limit(self, name: &str) -> Option<&'a str> {
        self.text(name)
    }

    pub(crate) fn items(self) -> Option<Self> {
        Some(Self::new(self.root, self.keyword("items")?))
    }

    /// The values that a choice knows; empty when it is no choice.
    pub(crate) fn choices(self) -> Vec<&'a str> {
        let constants = self.list("oneOf").iter().flat_map(|choice| {
            let several = choice.get("enum").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            choice.get("const").into_iter().chain(several)
        });
        constants.chain(self.list("enum")).chain(self.keyword("const")).filter_map(Value::as_str).collect()
    }

    /// The keys of which exactly one must be given; empty when there is no such rule.
    pub(crate) fn alternatives(self) -> Vec<&'a str> {
        let required = |choice: &'a Value| choice.get("required")?.get(0)?.as_str();
        self.list("oneOf").iter().filter_map(required).collect()
    }

    pub(crate) fn required(self) -> Vec<&'a str> {
        self.list("required").iter().filter_map(Value::as_str).collect()
    }

    /// The keys that must be given because `key` is.
    pub(crate) fn required_by(self, key: &str) -> Vec<&'a str> {
        let keys = self.keyword("dependentRequired").and_then(|keys| keys.get(key)?.as_array());
        keys.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn properties(self) -> Option<&'a Map<String, Value>> {
        self.keyword("properties")?.as_object()
    }

    pub(crate) fn keys(self) -> Vec<&'a str> {
        self.properties().into_iter().flat_map(Map::keys).map(String::as_str).collect()
    }

    /// Whether keys that are not described are right too.
    pub(crate) fn is_open(self) -> bool {
        self.keyword("additionalProperties") != Some(&Value::Bool(false))
    }

    /// What the rules of a mapping (`if`, `then`) say of its keys; `told` answers what a key holds.
    pub(crate) fn rules<'e>(self, told: impl Fn(&str) -> Option<&'e str>) -> Vec<&'a Value> {
        let applies = |rule: &&'a Value| {
            let conditions = rule.pointer("/if/properties").and_then(Value::as_object);
            conditions.is_some_and(|conditions| {
                conditions
                    .iter()
                    .all(|(key, wanted)| told(key) == wanted.get("const").and_then(Value::as_str))
            })
        };
        let rules = self.list("allOf").iter().filter(applies);
        rules.filter_map(|rule| rule.get("then")?.get("properties")).collect()
    }

    /// What `key` holds, by [`Shape::rules`] or else by the schema's own description.
    pub(crate) fn property(self, key: &str, rules: &[&'a Value]) -> Option<Self> {
        let special = rules.iter().find_map(|rule| rule.get(key));
        Some(Self::new(self.root, special.or_else(|| self.properties()?.get(key))?))
    }

    /// The path of `key` among the keys below this one: `machine.memory` for `memory`.
    pub(crate) fn find_below(self, key: &str) -> Option<String> {
        const LEVELS: usize = 3;
        self.search(key, LEVELS)
    }

    fn search(self, key: &str, levels: usize) -> Option<String> {
        let inner = |name: &'a str| {
            let shape = Self::new(self.root, self.properties()?.get(name)?);
            if shape.keys().contains(&key) {
                return Some(format!("{name}.{key}"));
            }
            let below = if levels > 1 { shape.search(key, levels - 1) } else { None };
            below.map(|path| format!("{name}.{path}"))
        };
        self.keys().into_iter().find_map(inner)
    }

    /// What is right here, to follow "expected".
    pub(crate) fn expectation(self) -> String {
        let choices = self.choices();
        if !choices.is_empty() {
            return alternatives(&choices, "or");
        }
        if let Some(format) = self.format() {
            return format.expected().to_owned();
        }
        match self.kind() {
            Some("integer") => self.whole_number(),
            Some("boolean") if self.keyword("const") == Some(&Value::Bool(true)) => "`true`".to_owned(),
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("array") => "a list".to_owned(),
            Some("object") => "a mapping of keys to values".to_owned(),
            _ => "text".to_owned(),
        }
    }

    fn whole_number(self) -> String {
        match (self.bound("minimum"), self.bound("maximum")) {
            (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
            _ => "a whole number".to_owned(),
        }
    }
}
