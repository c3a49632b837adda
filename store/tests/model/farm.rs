//! The farm's whole state, read by one script call and parsed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use remuda_protocol::event::Sequence;
use remuda_store::TaskRecord;

/// Everything under the farm's prefix but the specs' text and the ids' text; of each event stream what is new.
pub const DUMP: &str = "
local since, out = {}, {}
for i = 2, #ARGV, 2 do since[ARGV[i]] = ARGV[i + 1] end
for _, k in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local name, v = string.sub(k, #ARGV[1] + 1), {}
  local t = redis.call('TYPE', k).ok
  if t == 'hash' then v = redis.call('HGETALL', k)
  elseif t == 'zset' then v = redis.call('ZRANGE', k, 0, -1, 'WITHSCORES')
  elseif t == 'set' then v = redis.call('SMEMBERS', k)
  elseif t == 'list' then
    if string.sub(name, 1, 4) == 'ids:' or string.sub(name, 1, 5) == 'bell:' then v = {redis.call('LLEN', k)} else v = redis.call('LRANGE', k, 0, -1) end
  elseif t == 'stream' then
    for _, e in ipairs(redis.call('XRANGE', k, since[name] or '-', '+')) do v[#v + 1] = e[1]; v[#v + 1] = e[2][2] end
  elseif string.sub(name, 1, 5) ~= 'spec:' then v = {redis.call('GET', k)} end
  table.insert(v, 1, name)
  out[#out + 1] = table.concat(v, '\\1')
end
return table.concat(out, '\\2')";

pub type Hash = HashMap<String, String>;

#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub first: u32,
    pub count: u32,
    pub us: f64,
    pub cost: f64,
    pub flags: String,
}

impl Run {
    fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.split(',').collect();
        assert_eq!(parts.len(), 5, "entry `{text}`");
        let n = |i: usize| parts[i].parse::<f64>().unwrap_or_else(|_| panic!("entry `{text}`"));
        Self {
            first: parts[0].parse().unwrap(),
            count: parts[1].parse().unwrap(),
            us: n(2),
            cost: n(3),
            flags: parts[4].to_owned(),
        }
    }

    pub fn tasks(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.count
    }
}

#[derive(Clone, Debug, Default)]
pub struct Farm {
    /// Each key's content as it came, but the events'.
    pub raw: BTreeMap<String, String>,
    pub meta: Hash,
    pub jobs: BTreeMap<String, Hash>,
    pub groups: BTreeMap<(String, u32), Hash>,
    pub lanes: BTreeMap<(String, u32), Hash>,
    pub queues: BTreeMap<(String, u32), Vec<Run>>,
    pub rests: BTreeMap<(String, u32), BTreeMap<String, Run>>,
    pub alone: BTreeMap<(String, u32), Vec<u32>>,
    pub alone_by: BTreeMap<(String, u32), String>,
    pub records: BTreeMap<(String, u32, u32), TaskRecord>,
    pub claims: BTreeMap<u64, Hash>,
    pub held: BTreeMap<String, BTreeSet<u64>>,
    pub slots: BTreeMap<String, BTreeMap<String, (String, i64, u32)>>,
    pub workers: BTreeMap<String, Hash>,
    /// lease, workers, owners, deadlines, retire, jobs
    pub zsets: BTreeMap<String, BTreeMap<String, f64>>,
    pub ready: BTreeMap<String, BTreeMap<String, f64>>,
    pub index: BTreeMap<(String, String), BTreeMap<u32, f64>>,
    pub wait: BTreeMap<String, BTreeMap<String, f64>>,
    pub free: BTreeMap<String, Vec<String>>,
    /// pools, pool_users, reserved, occupied, profiles
    pub hashes: BTreeMap<String, Hash>,
    pub places: BTreeMap<String, Hash>,
    /// By job: worker → when it had come, and why it cannot.
    pub refused: BTreeMap<String, Hash>,
    pub classes: BTreeSet<String>,
    pub bells: BTreeMap<String, i64>,
    pub ids: BTreeMap<(String, u32, u32), i64>,
    pub details: BTreeMap<String, Hash>,
    pub events: BTreeMap<String, Vec<(Sequence, String)>>,
    pub unknown: Vec<String>,
}

fn hash(v: &[&str]) -> Hash {
    v.chunks(2).map(|p| (p[0].to_owned(), p[1].to_owned())).collect()
}
fn zset(v: &[&str]) -> BTreeMap<String, f64> {
    v.chunks(2).map(|p| (p[0].to_owned(), p[1].parse().unwrap())).collect()
}
fn numbered(rest: &str) -> (String, u32) {
    let (j, n) = rest.rsplit_once(':').unwrap();
    (j.to_owned(), n.parse().unwrap())
}

/// A record as the scripts write it.
fn record(task: u32, packed: &str) -> TaskRecord {
    let mut words = packed.split(' ');
    let letter = words.next().unwrap().chars().next().unwrap();
    let n: Vec<u64> = words.map(|w| w.parse().unwrap_or_else(|_| panic!("record `{packed}`"))).collect();
    let (fails, losses, company, us) = match n[..] {
        [_, us] => (0, 0, 0, us),
        [_, fails, losses, company, us] => (fails, losses, company, us),
        _ => panic!("record `{packed}`"),
    };
    let small = |n: u64| u32::try_from(n).unwrap();
    let outcome = remuda_protocol::outcome::Outcome::from_letter(letter);
    assert!(outcome.is_some() || letter == 'R' || letter == 'Q', "record `{packed}`");
    TaskRecord {
        task,
        outcome,
        running: letter == 'R',
        fence: n[0],
        fails: small(fails),
        losses: small(losses),
        company: small(company),
        us,
    }
}

impl Farm {
    pub fn parse(dump: &str) -> Self {
        let mut farm = Self::default();
        for key in dump.split('\u{2}') {
            let mut parts = key.split('\u{1}');
            let name = parts.next().unwrap();
            let value: Vec<&str> = parts.collect();
            let content = if name.starts_with("events:") { "" } else { key };
            farm.raw.insert(name.to_owned(), content.to_owned());
            farm.take(name, &value);
        }
        farm
    }

    fn take(&mut self, name: &str, v: &[&str]) {
        let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
        match kind {
            "meta" => self.meta = hash(v),
            "clock" | "spec" | "log" | "logs" | "result" => {}
            "job" => drop(self.jobs.insert(rest.to_owned(), hash(v))),
            "group" => drop(self.groups.insert(numbered(rest), hash(v))),
            "lane" => drop(self.lanes.insert(numbered(rest), hash(v))),
            "q" => drop(self.queues.insert(numbered(rest), v.iter().map(|e| Run::parse(e)).collect())),
            "cur" => {
                let rests = hash(v).into_iter().map(|(k, e)| (k, Run::parse(&e))).collect();
                self.rests.insert(numbered(rest), rests);
            }
            "alone" => drop(self.alone.insert(numbered(rest), v.iter().map(|t| t.parse().unwrap()).collect())),
            "alone_by" => drop(self.alone_by.insert(numbered(rest), v[0].to_owned())),
            "claim" => drop(self.claims.insert(rest.parse().unwrap(), hash(v))),
            "held" => drop(self.held.insert(rest.to_owned(), v.iter().map(|f| f.parse().unwrap()).collect())),
            "slot" => {
                drop(self.slots.insert(rest.to_owned(), hash(v).into_iter().map(|(s, t)| (s, slot(&t))).collect()))
            }
            "w" => drop(self.workers.insert(rest.to_owned(), hash(v))),
            "lease" | "workers" | "owners" | "deadlines" | "retire" | "jobs" => {
                drop(self.zsets.insert(kind.to_owned(), zset(v)))
            }
            "ready" => drop(self.ready.insert(rest.to_owned(), zset(v))),
            "pools" | "pool_users" | "reserved" | "occupied" | "profiles" => {
                drop(self.hashes.insert(kind.to_owned(), hash(v)))
            }
            _ => self.take_more(kind, rest, name, v),
        }
    }

    fn take_more(&mut self, kind: &str, rest: &str, name: &str, v: &[&str]) {
        match kind {
            "lanes" => {
                let (j, class) = rest.split_once(':').unwrap();
                let lanes = zset(v).into_iter().map(|(l, s)| (l.parse().unwrap(), s)).collect();
                self.index.insert((j.to_owned(), class.to_owned()), lanes);
            }
            "wait" => drop(self.wait.insert(rest.to_owned(), zset(v))),
            "free" => drop(self.free.insert(rest.to_owned(), v.iter().map(|i| (*i).to_owned()).collect())),
            "place" => drop(self.places.insert(rest.to_owned(), hash(v))),
            "refused" => drop(self.refused.insert(rest.to_owned(), hash(v))),
            "classes" => self.classes = v.iter().map(|i| (*i).to_owned()).collect(),
            "bell" => drop(self.bells.insert(rest.to_owned(), v[0].parse().unwrap())),
            "ids" => {
                let (head, bucket) = numbered(rest);
                let (j, g) = numbered(&head);
                self.ids.insert((j, g, bucket), v[0].parse().unwrap());
            }
            "rec" => {
                let (head, bucket) = numbered(rest);
                let (j, g) = numbered(&head);
                for (field, packed) in hash(v) {
                    let task = bucket * 100 + field.parse::<u32>().unwrap();
                    self.records.insert((j.clone(), g, task), record(task, &packed));
                }
            }
            "det" => drop(self.details.insert(rest.to_owned(), hash(v))),
            "events" => {
                let list = v.chunks(2).map(|e| (Sequence::parse(e[0]).unwrap(), e[1].to_owned()));
                self.events.insert(rest.to_owned(), list.collect());
            }
            _ => self.unknown.push(name.to_owned()),
        }
    }

    pub fn zset(&self, name: &str) -> impl Iterator<Item = (&String, f64)> {
        self.zsets.get(name).into_iter().flatten().map(|(k, v)| (k, *v))
    }

    pub fn score(&self, name: &str, member: &str) -> Option<f64> {
        self.zsets.get(name)?.get(member).copied()
    }

    pub fn occupied(&self, name: &str) -> i64 {
        self.hashes.get("occupied").and_then(|h| h.get(name)).map_or(0, |n| n.parse().unwrap())
    }

    /// Whether a worker that is on the books has refused a job since it came.
    pub fn has_refused(&self, j: &str, worker: &str) -> bool {
        let said = self.refused.get(j).and_then(|r| r.get(worker)).and_then(|said| said.split_once(' '));
        said.is_some_and(|(joined, _)| self.workers.get(worker).is_some_and(|w| word(w, "joined") == joined))
    }

    pub fn meta_number(&self, field: &str) -> i64 {
        self.meta.get(field).map_or(0, |n| n.parse().unwrap())
    }
}

fn slot(text: &str) -> (String, i64, u32) {
    let parts: Vec<&str> = text.split(' ').collect();
    (parts[0].to_owned(), parts[1].parse().unwrap(), parts[2].parse().unwrap())
}

/// A number in a hash, 0 if absent.
pub fn number(hash: &Hash, field: &str) -> i64 {
    hash.get(field).map_or(0, |n| n.parse().unwrap_or_else(|_| panic!("field {field} is `{n}`")))
}

pub fn word<'a>(hash: &'a Hash, field: &str) -> &'a str {
    hash.get(field).map_or("", String::as_str)
}
