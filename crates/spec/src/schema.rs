//! The JSON Schema of the file: for editors, and the description that the checks themselves follow.

use std::sync::LazyLock;

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform,
};
use serde_json::{Map, Value, json};

use crate::raw::{AgentPolicySpec, AgentSpec, Document, HostSpec, ImageSpec, Kind, PoolSpec};

/// Returns the JSON Schema (draft 2020-12) of one document of the file, as editors take it.
///
/// `kind` decides by `if`/`then` what `spec` is: editors tell then which key is wrong, where `oneOf` over whole
/// documents only tells that nothing fits. Keywords that begin with `x-` are ours (limits of sizes and times).
#[must_use]
pub fn schema() -> Value {
    described().clone()
}

/// The same, made once.
pub(crate) fn described() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(generate);
    &SCHEMA
}

fn generate() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    let mut generator = settings.into_generator();
    let kinds = [
        (Kind::Image, spec::<ImageSpec>(&mut generator)),
        (Kind::Pool, spec::<PoolSpec>(&mut generator)),
        (Kind::Host, spec::<HostSpec>(&mut generator)),
        (Kind::Agent, spec::<AgentSpec>(&mut generator)),
        (Kind::AgentPolicy, spec::<AgentPolicySpec>(&mut generator)),
    ];
    let mut root = generator.into_root_schema_for::<Document>();
    let branch = |(kind, spec): (Kind, Schema)| {
        json!({
            "if": { "required": ["kind"], "properties": { "kind": { "const": kind } } },
            "then": { "properties": { "spec": spec } },
        })
    };
    root.insert("allOf".to_owned(), kinds.into_iter().map(branch).collect());
    root.insert("title".to_owned(), json!("Winstead document"));
    root.to_value()
}

fn spec<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Takes `null` out: a key that may be left out is left out, not written without a value.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            only.into_iter().for_each(|(key, value)| _ = object.entry(key).or_insert(value));
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Object(default)) = object.get_mut("default") {
        strip(default);
    }
}

fn strip(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    object.values_mut().filter_map(Value::as_object_mut).for_each(strip);
}
