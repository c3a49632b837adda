//! `open`: creates a job. Wrapper of `scripts/open.lua`, which gets the spec as it is and a flat plan of it.

use remuda_protocol::spec::{GroupKind, JobSpec};
use serde_json::{Value, json};

use crate::connection::Store;
use crate::error::StoreError;
use crate::next::escape_item;
use crate::reply::status;
use crate::scripts::Name;

/// What became of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The job is there now.
    New,
    /// It was there before, the same.
    Again,
    /// Another job has this id.
    Conflict,
    /// A live job defines this pool otherwise.
    Pool(String),
}

impl Store {
    /// Opens a job whose coordinator must renew its deadline within `grace_ms` (0: nobody owns it).
    ///
    /// # Errors
    /// The server's.
    pub async fn open(&self, spec: &JobSpec, coordinator: &str, grace_ms: u64) -> Result<Opened, StoreError> {
        let text = serde_json::to_string(spec).map_err(|e| StoreError::Script {
            at: self.address().to_owned(),
            script: "open".to_owned(),
            why: e.to_string(),
        })?;
        let (plan, grace) = (plan(spec).to_string(), grace_ms.to_string());
        let args: [&[u8]; 5] =
            [spec.id.as_bytes(), text.as_bytes(), plan.as_bytes(), coordinator.as_bytes(), grace.as_bytes()];
        let (word, rest) = status(&self.call(Name::Open, &args).await?);
        Ok(match word.as_str() {
            "OK" => Opened::New,
            "EXISTS" => Opened::Again,
            "EPOOL" => Opened::Pool(rest),
            _ => Opened::Conflict,
        })
    }

    /// The spec of a job.
    ///
    /// # Errors
    /// [`StoreError::UnknownJob`], or the server's.
    pub async fn spec(&self, job: &str) -> Result<JobSpec, StoreError> {
        let answer = self.read("spec", redis::pipe().get(self.keys().spec(job))).await?;
        let unknown = || StoreError::UnknownJob { job: job.to_owned() };
        let text = answer.first().map(crate::reply::text).filter(|t| !t.is_empty()).ok_or_else(unknown)?;
        serde_json::from_str(&text).map_err(|e| StoreError::Script {
            at: self.address().to_owned(),
            script: format!("spec of job {job}"),
            why: e.to_string(),
        })
    }
}

fn csv(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(",")
}

fn plan(spec: &JobSpec) -> Value {
    let mut lanes = Vec::new();
    let mut groups = Vec::new();
    for (g, group) in spec.groups.iter().enumerate() {
        let first = lanes.len();
        lanes.extend(group.lanes.iter().map(|lane| {
            json!({"group": g.to_string(), "class": lane.class(), "locks": lane.lockset(), "warm": u8::from(lane.warm)})
        }));
        let number = u32::try_from(g).unwrap_or(u32::MAX);
        let collector = spec.groups.iter().position(|c| c.kind == GroupKind::Collect && c.collects == Some(number));
        groups.push(json!({
            "name": group.name,
            "kind": group.kind.word(),
            "needs": group.needs.len(),
            "deps": csv(spec.groups.iter().enumerate().filter(|(_, d)| d.needs.contains(&number)).map(|(i, _)| i)),
            "lanes": csv(first..lanes.len()),
            "collects": group.collects.unwrap_or(0),
            "collector": collector.map_or(0, |c| c + 1),
            "retries": group.retries,
            "max_losses": group.max_losses,
        }));
    }
    let pools: serde_json::Map<String, Value> = spec
        .pools
        .iter()
        .map(|(name, items)| (name.clone(), json!({"definition": items.join("\n"), "items": items.iter().map(|i| escape_item(i)).collect::<Vec<_>>()})))
        .collect();
    json!({
        "name": spec.name, "submitter": spec.submitter, "priority": spec.priority, "weight": spec.weight,
        "max_slots": spec.max_slots, "detach": u8::from(spec.detach), "det_budget": spec.detail_budget,
        "max_failures": spec.max_failures, "soon": u8::from(spec.halt_soon), "retention_ms": spec.retention_ms, "deadline_ms": spec.deadline_ms.unwrap_or(0),
        "pools": pools, "lanes": lanes, "groups": groups,
    })
}
