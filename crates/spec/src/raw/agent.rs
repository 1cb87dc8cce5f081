//! `kind: Agent` and `kind: AgentPolicy` as the user writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Agent, AgentLimits, AgentQuery, Door, Name, PortRange, PortTarget, Sha256,
    format::Format,
    raw::{Cidr, Size, Time},
};

/// The winstead-agent of one computer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct AgentSpec {
    /// Where callers come in. A door that is not named is closed; `local` is always open.
    pub(crate) doors: Doors,
    /// Prometheus metrics over HTTP. Default: none.
    pub(crate) metrics: Option<AgentMetrics>,
    /// How much output of one process is kept while nobody reads it, 64KiB to 16GiB. When it is full, the process waits.
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "16GiB"))]
    pub(crate) spool: Size,
    /// Whether ports that a program asks to have opened, and that the policy lets it open, get rules in Windows' firewall,
    /// for that program and as long as it runs. When none can be made, the program is not started. Default: yes, on
    /// Windows. On Linux no rule is made, and `true` is refused.
    pub(crate) firewall: Option<bool>,
    /// What callers can use up.
    pub(crate) limits: Limits,
}

/// Where callers come in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Doors {
    /// The agent's own protocol: a Unix socket, or a named pipe on Windows.
    pub(crate) local: AgentDoor,
    /// Old wins clients: gRPC.
    pub(crate) wins: Option<AgentDoor>,
    /// Tunnels of old wins clients: WebSocket.
    pub(crate) wins_proxy: Option<AgentDoor>,
    /// The agent's own protocol over the network: TLS 1.3, with certificates on both sides.
    pub(crate) tcp: Option<AgentTcpDoor>,
}

/// A TCP port with TLS. The client's certificate says who calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentTcpDoor {
    /// The address to listen at: `10.0.0.5:9796`, or `0.0.0.0:9796` for all of this computer's.
    #[schemars(extend("format" = "socket-address", "pattern" = Format::Socket.pattern()))]
    pub(crate) address: String,
    /// A PEM file with the agent's certificate, and behind it those between it and its authority.
    #[schemars(extend("format" = "file-path", "pattern" = Format::Path.pattern()))]
    pub(crate) certificate: String,
    /// A PEM file with the key of that certificate. Nobody but the agent and administrators may read it.
    #[schemars(extend("format" = "file-path", "pattern" = Format::Path.pattern()))]
    pub(crate) key: String,
    /// A PEM file with the authorities that clients' certificates come from. What they may do then is the policy's.
    #[schemars(extend("format" = "file-path", "pattern" = Format::Path.pattern()))]
    pub(crate) client_authority: String,
}

/// A socket or a pipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct AgentDoor {
    /// Where it is. Default: `agent.sock`, `rancher_wins.sock` or `rancher_wins_proxy.sock` in the runtime folder; on Windows `\\.\pipe\winstead_agent`, `\\.\pipe\rancher_wins` or `\\.\pipe\rancher_wins_proxy`.
    #[schemars(extend("format" = "file-path", "pattern" = Format::Path.pattern()))]
    pub(crate) path: Option<String>,
    /// Who may connect; what they may do then is the policy's. Default: `everybody` for `local`, `administrators` for the others and with `group`.
    pub(crate) connect: Option<Connect>,
    /// Besides administrators the members of this group: its name, or a SID on Windows.
    #[schemars(extend("format" = "word", "pattern" = Format::Word.pattern()))]
    pub(crate) group: Option<String>,
}

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Connect {
    /// Everybody on this computer.
    Everybody,
    /// Those who can do everything on this computer anyway.
    Administrators,
}

/// Prometheus metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentMetrics {
    /// The address to listen at, without TLS and without a password: a loopback address, unless `public` says otherwise.
    #[schemars(extend("format" = "socket-address", "pattern" = Format::Socket.pattern()))]
    pub(crate) address: String,
    /// Lets `address` be one that other computers reach.
    #[serde(default)]
    pub(crate) public: bool,
}

/// What callers can use up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections at the same time, 1 to 65536. One account that is no administrator's has a quarter of them at most.
    #[schemars(range(min = 1, max = 65536))]
    pub(crate) clients: u32,
    /// The largest message, 64KiB to 64MiB.
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "64MiB"))]
    pub(crate) message: Size,
    /// Arguments and environment of one process together, 1KiB to 16MiB.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "16MiB"))]
    pub(crate) arguments: Size,
    /// How long a connection may take to its first whole words, 100ms to 5m.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "5m"))]
    pub(crate) handshake: Time,
}

/// Who may do what through a winstead-agent. What no rule allows is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentPolicySpec {
    /// The rules. The first one that allows what is asked for gives the terms.
    pub(crate) rules: Vec<Rule>,
}

/// What some callers may do. What is left out is not allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rule {
    /// Its name, unique among the rules of all policies: the audit log tells it.
    pub(crate) name: Name,
    /// For whom. An empty list is nobody.
    pub(crate) callers: Vec<RuleCaller>,
    /// Programs to run.
    #[serde(default)]
    pub(crate) run: Vec<RuleProgram>,
    /// Ports to reach through the agent: `tcp/localhost:9796`, `udp/10.0.0.1:4789-4800`, `tcp/*:443`.
    #[serde(default)]
    pub(crate) tunnels: Vec<PortTarget>,
    /// Files to read and to write.
    #[serde(default)]
    pub(crate) files: RuleFiles,
    /// What may be asked for.
    #[serde(default)]
    pub(crate) queries: Vec<AgentQuery>,
    /// Networks to which routes may be added, or to parts of them: `169.254.169.254/32`.
    #[serde(default)]
    pub(crate) routes: Vec<Cidr>,
    /// Lets them restart the computer.
    #[serde(default)]
    pub(crate) reboot: bool,
    /// Lets them do everything that the agent can do.
    #[serde(default)]
    pub(crate) all: bool,
}

/// A caller: all keys that are given must match, and at least one is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RuleCaller {
    /// Where they come in.
    pub(crate) door: Option<Door>,
    /// `true`: only those who can do everything on this computer anyway. Root in a container cannot.
    pub(crate) administrator: bool,
    /// The account: its name, its user id, or its SID.
    #[schemars(extend("format" = "word", "pattern" = Format::Word.pattern()))]
    pub(crate) account: Option<String>,
    /// One of their groups: its name, its id, or its SID.
    #[schemars(extend("format" = "word", "pattern" = Format::Word.pattern()))]
    pub(crate) group: Option<String>,
    /// A glob for their container: the path of its cgroup on Linux, its job on Windows. `none`: only those outside of one. Default: both.
    #[schemars(extend("format" = "word", "pattern" = Format::Word.pattern()))]
    pub(crate) container: Option<String>,
    /// What the calling program hashes to.
    pub(crate) program: Option<Sha256>,
    /// Their certificate at `tcp`: one of its alternative names, a DNS name or a URI, as a whole; or its fingerprint, `sha256:` and 64 digits.
    #[schemars(extend("format" = "word", "pattern" = Format::Word.pattern()))]
    pub(crate) certificate: Option<String>,
}

/// A program that may be run: named by `sha256`, by `signer`, by `path`, or by several of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RuleProgram {
    /// What it must hash to: one of these. Default: whatever is at `path`, or signed by `signer`.
    pub(crate) sha256: Option<Vec<Sha256>>,
    /// Who must have signed it, by Authenticode. Windows only: elsewhere such a rule lets nothing run.
    pub(crate) signer: Option<RuleSigner>,
    /// Where it stands, as a whole path. Default: anywhere.
    #[schemars(extend("format" = "absolute-path", "pattern" = Format::Absolute.pattern()))]
    pub(crate) path: Option<String>,
    /// Its arguments in this order: each is itself, `*` is one of any kind, `**` at the end is any rest. Default: none.
    pub(crate) arguments: Vec<String>,
    /// Names of variables that may be set; `NAME_*` is all that begin with `NAME_`.
    pub(crate) environment: Vec<Variable>,
    /// As whom it runs. Default: as the agent itself.
    #[schemars(extend("format" = "word", "pattern" = Format::Word.pattern()))]
    pub(crate) account: Option<String>,
    /// The most it may have, with all that it starts.
    pub(crate) limits: ProgramLimits,
    /// Ports that it may open to others: `tcp/9796`, `udp/4789-4800`.
    pub(crate) ports: Vec<PortRange>,
}

/// Who must have signed a program: all keys that are given must match, and at least one is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RuleSigner {
    /// The certificate's whole subject, as PowerShell's `Get-AuthenticodeSignature` shows it: `CN=Tools, O=Example Inc., C=US`.
    #[schemars(extend("format" = "word", "pattern" = Format::Word.pattern()))]
    pub(crate) subject: Option<String>,
    /// What the certificate must hash to: one of these. Default: any of that subject.
    pub(crate) sha256: Option<Vec<Sha256>>,
}

/// The most that a program may have. Default: no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ProgramLimits {
    /// Memory, at least 1MiB.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "16TiB"))]
    pub(crate) memory: Option<Size>,
    /// Processes at the same time.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub(crate) processes: Option<u32>,
    /// Thousandths of one CPU: 1500 is one and a half.
    #[schemars(range(min = 10, max = 1_024_000))]
    pub(crate) cpu_milli: Option<u32>,
}

/// Files to read and to write, as globs of whole paths: `*` stays within a folder, `**` does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RuleFiles {
    /// To read, and to list.
    pub(crate) read: Vec<FileGlob>,
    /// To write, which does not let them read.
    pub(crate) write: Vec<FileGlob>,
}

/// A glob of whole paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "absolute-path", "pattern" = Format::Absolute.pattern()))]
pub(crate) struct FileGlob(pub(crate) String);

/// The name of a variable of the environment, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "variable", "pattern" = Format::Variable.pattern()))]
pub(crate) struct Variable(pub(crate) String);

impl Default for AgentSpec {
    fn default() -> Self {
        let agent = Agent::default();
        let (spool, limits) = (Size(agent.spool), Limits::default());
        Self { doors: Doors::default(), metrics: None, spool, firewall: agent.firewall, limits }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let AgentLimits { clients, message, arguments, handshake } = AgentLimits::default();
        Self { clients, message: Size(message), arguments: Size(arguments), handshake: Time(handshake) }
    }
}
