//! From the text of files to documents, or to the list of all that is wrong with them.
//!
//! ```text
//! text ─tree→ nodes with places ─check (schema)→ JSON ─serde→ raw ─meaning→ validated ─together→ Documents
//! ```
//! Every stage adds its problems to one list. A document that is no YAML, or does not fit the schema, gets no further;
//! the others do.

use std::{collections::HashMap, path::PathBuf};

use serde_json::Value;

use crate::{
    Agent, AgentPolicy, AgentRule, Host, Image, Name, Pool, check, meaning,
    problem::{Complaint, Place, Problem, Problems},
    raw::{self, AgentPolicySpec, AgentSpec, HostSpec, ImageSpec, Kind, PoolSpec},
    schema, together,
    tree::{self, Data, Node},
};

/// A file as the caller read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What problems call it: its path, or `<stdin>`.
    pub name: String,
    /// What relative paths in it are relative to.
    pub folder: PathBuf,
    /// Its content.
    pub text: String,
}

/// What all files say together, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// `kind: Image`.
    pub images: Vec<Image>,
    /// `kind: Pool`.
    pub pools: Vec<Pool>,
    /// `kind: Host`.
    pub hosts: Vec<Host>,
    /// `kind: Agent`: at most one.
    pub agents: Vec<Agent>,
    /// `kind: AgentPolicy`.
    pub policies: Vec<AgentPolicy>,
}

impl Documents {
    /// The document of this computer, or [`Host::local`] when there is none.
    #[must_use]
    pub fn host(&self) -> Host {
        let local = Host::local();
        self.hosts.iter().find(|host| host.name == local.name).cloned().unwrap_or(local)
    }

    /// Whether there is nothing but documents for winstead-agent, and at least one of them.
    #[must_use]
    pub fn are_for_an_agent(&self) -> bool {
        let others = self.images.is_empty() && self.pools.is_empty() && self.hosts.is_empty();
        others && !(self.agents.is_empty() && self.policies.is_empty())
    }

    /// The rules of all policies, in the order of the files.
    pub fn rules(&self) -> impl Iterator<Item = &AgentRule> {
        self.policies.iter().flat_map(|policy| &policy.rules)
    }
}

/// Returns what the files say.
///
/// A pool's image need not be among the documents: it may have been built earlier.
///
/// # Errors
/// All problems of all files at once.
pub fn parse(sources: &[Source]) -> Result<Documents, Problems> {
    let mut reading = Reading::default();
    for source in sources {
        reading.source(source);
    }
    let documents = reading.documents();
    let order = |problem: &Problem| sources.iter().position(|source| source.name == problem.file);
    let mut problems = reading.problems;
    if problems.is_empty() {
        return Ok(documents);
    }
    problems.sort_by_cached_key(|problem| (order(problem), problem.line, problem.column));
    Err(Problems(problems))
}

/// A document that fits the schema, with what is needed to name its places.
pub(crate) struct Origin<'a> {
    pub(crate) source: &'a Source,
    pub(crate) node: Node,
    pub(crate) name: Name,
}

impl Origin<'_> {
    pub(crate) fn problem(&self, key: &str, complaint: Complaint) -> Problem {
        complaint.at(&self.source.name, self.node.place_of(key), key.to_owned())
    }

    /// `agents.yaml:12`, for problems that are about two places.
    pub(crate) fn place(&self, key: &str) -> String {
        format!("{}:{}", self.source.name, self.node.place_of(key).line)
    }
}

#[derive(Default)]
struct Reading<'a> {
    problems: Vec<Problem>,
    names: HashMap<(String, String), String>,
    images: Vec<(Origin<'a>, ImageSpec)>,
    pools: Vec<(Origin<'a>, PoolSpec)>,
    hosts: Vec<(Origin<'a>, HostSpec)>,
    agents: Vec<(Origin<'a>, AgentSpec)>,
    policies: Vec<(Origin<'a>, AgentPolicySpec)>,
}

impl<'a> Reading<'a> {
    fn source(&mut self, source: &'a Source) {
        let (nodes, problems) = tree::read(&source.name, &source.text);
        if nodes.is_empty() && problems.is_empty() {
            let complaint = Complaint::new("holds no document")
                .expected("an Image, a Pool, a Host, an Agent or an AgentPolicy");
            self.problems.push(complaint.at(&source.name, Place::START, String::new()));
        }
        self.problems.extend(problems);
        for node in nodes {
            self.once(source, &node);
            if let Some(value) = check::check(&source.name, &node, schema::described(), &mut self.problems) {
                self.document(source, node, value);
            }
        }
    }

    /// Two documents of one kind and name contradict each other, whatever else is wrong with them.
    fn once(&mut self, source: &Source, node: &Node) {
        let text = |node: &Node| match &node.data {
            Data::Scalar(scalar) if !scalar.text.is_empty() => Some(scalar.text.clone()),
            _ => None,
        };
        let kind = node.get("kind").and_then(|entry| text(&entry.value));
        let name = node.get("metadata").and_then(|entry| text(&entry.value.get("name")?.value));
        let Some((kind, name)) = kind.zip(name) else { return };
        let place = node.place_of("metadata.name");
        let here = format!("{}:{}", source.name, place.line);
        if let Some(first) = self.names.get(&(kind.clone(), name.clone())) {
            let message = format!("this {kind} exists already, in {first}");
            self.problems.push(Complaint::new(message).at(&source.name, place, "metadata.name".to_owned()));
        } else {
            self.names.insert((kind, name), here);
        }
    }

    fn document(&mut self, source: &'a Source, node: Node, value: Value) {
        let place = node.place;
        if let Err(error) = self.sort(source, node, value) {
            // The schema comes from the same types, so this is a bug of ours; it must not become a panic.
            let complaint = Complaint::new(format!("cannot be read: {error}"));
            self.problems.push(complaint.at(&source.name, place, String::new()));
        }
    }

    fn sort(&mut self, source: &'a Source, node: Node, value: Value) -> Result<(), serde_json::Error> {
        let document: raw::Document = serde_json::from_value(value)?;
        let origin = Origin { source, node, name: document.metadata.name };
        match document.kind {
            Kind::Image => self.images.push((origin, serde_json::from_value(document.spec)?)),
            Kind::Pool => self.pools.push((origin, serde_json::from_value(document.spec)?)),
            Kind::Host => self.hosts.push((origin, serde_json::from_value(document.spec)?)),
            Kind::Agent => self.agents.push((origin, serde_json::from_value(document.spec)?)),
            Kind::AgentPolicy => self.policies.push((origin, serde_json::from_value(document.spec)?)),
        }
        Ok(())
    }

    fn documents(&mut self) -> Documents {
        let problems = &mut self.problems;
        let images: Vec<_> =
            self.images.iter().map(|(origin, spec)| meaning::image(origin, spec, problems)).collect();
        let pool = |(origin, spec): &(_, _)| meaning::pool(origin, spec, &images, problems);
        let pools: Vec<_> = self.pools.iter().map(pool).collect();
        let hosts = self.hosts.iter().map(|(origin, spec)| meaning::host(origin, spec, problems)).collect();
        let origins = self.pools.iter().map(|(origin, _)| origin);
        problems.extend(together::bridges(&pools, origins));
        let agents =
            self.agents.iter().map(|(origin, spec)| meaning::agent(origin, spec, problems)).collect();
        let policies: Vec<_> =
            self.policies.iter().map(|(origin, spec)| meaning::policy(origin, spec, problems)).collect();
        problems.extend(together::agents(self.agents.iter().map(|(origin, _)| origin)));
        let origins = self.policies.iter().map(|(origin, _)| origin);
        problems.extend(together::rules(&policies, origins));
        Documents { images, pools, hosts, agents, policies }
    }
}
