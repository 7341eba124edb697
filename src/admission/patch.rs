//! Builds a JSON patch of `add` operations against a raw document.
//!
//! Never a diff: comparing documents rewrites lists, and re-serialising numbers changes them. Missing parents are added;
//! `null` counts as missing.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value};

/// Additions to one document, collected.
#[derive(Debug)]
pub struct Additions<'a> {
    document: &'a Value,
    operations: Vec<PatchOperation>,
}

/// A member of a member of the document: everything we add lives two levels down.
type Place = [&'static str; 2];

impl<'a> Additions<'a> {
    /// Starts with none.
    pub fn to(document: &'a Value) -> Self {
        Additions { document, operations: Vec::new() }
    }

    /// Adds entries to the map at `place`, each replacing one of the same key.
    pub fn entries<'k>(&mut self, place: Place, entries: impl IntoIterator<Item = (&'k str, Value)>) {
        if self.exists(place) {
            for (key, value) in entries {
                self.add(&[place[0], place[1], key], value);
            }
        } else {
            let map: Map<String, Value> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            self.add_member(place, Value::Object(map));
        }
    }

    /// Adds `items` in front of the list at `place`, in their order.
    pub fn first_items(&mut self, place: Place, items: Vec<Value>) {
        if self.exists(place) {
            for (index, item) in items.into_iter().enumerate() {
                self.add(&[place[0], place[1], &index.to_string()], item);
            }
        } else {
            self.add_member(place, Value::Array(items));
        }
    }

    /// Adds `item` at the end of the list at `place`.
    pub fn last_item(&mut self, place: Place, item: Value) {
        if self.exists(place) {
            self.add(&[place[0], place[1], "-"], item);
        } else {
            self.add_member(place, Value::Array(vec![item]));
        }
    }

    /// The patch.
    pub fn into_patch(self) -> Patch {
        Patch(self.operations)
    }

    fn exists(&self, place: Place) -> bool {
        let member = self.document.get(place[0]).and_then(|parent| parent.get(place[1]));
        member.is_some_and(|value| !value.is_null())
    }

    fn add_member(&mut self, place: Place, value: Value) {
        let [parent, member] = place;
        let known = self.document.get(parent).is_some_and(Value::is_object);
        let added = self.operations.iter().any(|operation| operation.path().as_str() == format!("/{parent}"));
        if known || added {
            self.add(&[parent, member], value);
        } else {
            self.add(&[parent], Value::Object(Map::from_iter([(member.to_owned(), value)])));
        }
    }

    fn add(&mut self, tokens: &[&str], value: Value) {
        let path = PointerBuf::from_tokens(tokens.iter().copied());
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn applied(mut document: Value, build: impl Fn(&mut Additions<'_>)) -> Value {
        let original = document.clone();
        let mut additions = Additions::to(&original);
        build(&mut additions);
        json_patch::patch(&mut document, &additions.into_patch()).unwrap();
        document
    }

    #[test]
    fn missing_and_null_parents_are_made() {
        for document in [json!({}), json!({"metadata": null}), json!({"metadata": {"labels": null}})] {
            let patched = applied(document, |additions| {
                additions.entries(["metadata", "labels"], [("a/b~c", json!("1"))]);
                additions.entries(["metadata", "annotations"], [("x", json!("2"))]);
            });
            assert_eq!(patched["metadata"]["labels"], json!({"a/b~c": "1"}));
            assert_eq!(patched["metadata"]["annotations"], json!({"x": "2"}));
        }
    }

    #[test]
    fn items_keep_their_order_and_nothing_else_changes() {
        let document = json!({"spec": {"initContainers": [{"name": "app", "future": 1e3}], "volumes": [1]}});
        let patched = applied(document, |additions| {
            additions.first_items(["spec", "initContainers"], vec![json!("a"), json!("b")]);
            additions.last_item(["spec", "volumes"], json!(2));
        });
        assert_eq!(
            patched,
            json!({"spec": {"initContainers": ["a", "b", {"name": "app", "future": 1e3}], "volumes": [1, 2]}})
        );
    }
}
