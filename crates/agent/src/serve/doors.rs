//! The doors of an agent that serves.

use std::{path::Path, sync::Arc};

use winstead_agent_client::wins_door;
use winstead_protocol::v1::DoorStatus;
use winstead_spec::{AgentDoor, AgentDoors, AgentTcpDoor};

use super::ServeError;
use crate::{
    access::Door,
    door::{self, Keys, Lobby, SystemDoor, TcpDoor},
    folder::guard,
};

/// Those that are listened at. A guest's, by which its host comes in, is none of them: it opens when there is a host.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) local: SystemDoor,
    pub(super) network: Option<TcpDoor>,
    pub(super) wins: Option<SystemDoor>,
    pub(super) wins_proxy: Option<SystemDoor>,
}

impl Doors {
    /// Opens those that `told` names; the agent's own is the first, since it tells whether another agent is here.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(super) fn open(runtime: &Path, told: &AgentDoors, lobby: &Lobby) -> Result<Self, ServeError> {
        let old = |door, told: &Option<AgentDoor>, pipe| {
            let by_default = wins_door(runtime, pipe);
            told.as_ref().map(|told| open(door, told, &by_default, lobby.clone())).transpose()
        };
        Ok(Self {
            local: open(Door::Local, &told.local, &door::address(runtime), lobby.clone())?,
            network: told.tcp.as_ref().map(|told| listen(told, lobby.clone())).transpose()?,
            wins: old(Door::Wins, &told.wins, "rancher_wins")?,
            wins_proxy: old(Door::WinsProxy, &told.wins_proxy, "rancher_wins_proxy")?,
        })
    }

    /// What they are, for those who may see it.
    pub(super) fn described(&self) -> Vec<DoorStatus> {
        let network = self.network.iter().map(TcpDoor::described);
        let old = self.wins.iter().chain(&self.wins_proxy).map(described);
        std::iter::once(described(&self.local)).chain(network).chain(old).collect()
    }
}

/// Opens a door at its own path, in a folder where others cannot write, or where it is by default.
fn open(door: Door, told: &AgentDoor, by_default: &Path, lobby: Lobby) -> Result<SystemDoor, ServeError> {
    let path = told.path.as_deref().unwrap_or(by_default);
    let opened = door::folder(path).map_or(Ok(()), guard);
    let opened = opened.and_then(|()| SystemDoor::open(door, path, &told.connect, lobby));
    opened.map_err(|source| ServeError::Door { path: path.to_owned(), source })
}

/// Opens the door to the network.
fn listen(told: &AgentTcpDoor, lobby: Lobby) -> Result<TcpDoor, ServeError> {
    let keys = Arc::new(Keys::open(told)?);
    let address = told.address;
    TcpDoor::open(told, keys, lobby).map_err(|source| ServeError::Port { address, source })
}

fn described(door: &SystemDoor) -> DoorStatus {
    let permissions = door.permissions().unwrap_or_else(|error| error.to_string());
    DoorStatus { name: door.door().to_string(), address: door.path().display().to_string(), permissions }
}
