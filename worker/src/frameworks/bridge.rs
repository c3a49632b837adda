//! The loader's side: which framework collects, and what it found in the words of the runner protocol.

use std::ffi::CStr;

use remuda_protocol::spec::Adapter;
use serde_json::{Value, json};

use super::{Load, Suite, batch, cargo_test, go_test, nextest, slot};
use crate::bridge::loader::{Backend, Failure, Link, Start};

/// A bridge to a framework.
pub(super) struct Frameworks {
    load: Load,
    suite: Option<Box<dyn Suite>>,
}

impl Backend for Frameworks {
    const NAME: &'static CStr = c"remuda-framework";
    type Load = Load;

    fn new(load: Load) -> Self {
        Self { load, suite: None }
    }

    fn collect(&mut self, link: &mut Link) -> Result<(), Failure> {
        self.suite = Some(match &self.load.adapter {
            Adapter::CargoNextest { program, args } => Box::new(nextest::collect(&self.load, program, args, link)?),
            Adapter::CargoTest { program, args } => Box::new(cargo_test::collect(&self.load, program, args, link)?),
            Adapter::GoTest { program, args } => Box::new(go_test::collect(&self.load, program, args, link)?),
            Adapter::Batch(spec) => Box::new(batch::collect(&self.load, spec, link)?),
            other => {
                let message = format!("no bridge leads to {other:?}; this worker is older than the submitter");
                return Err(Failure { message, exit: 3, output: String::new() });
            }
        });
        Ok(())
    }

    fn specification(&self) -> Value {
        json!({"type": "abq_native_runner_specification", "name": "remuda-framework", "version": env!("CARGO_PKG_VERSION")})
    }

    fn tests(&self) -> Vec<Value> {
        let tests = self.suite.iter().flat_map(|suite| suite.tests());
        tests.map(|t| json!({"id": t.id, "file": t.file, "scope": t.file, "group": t.group})).collect()
    }

    fn asks(&self) -> (usize, Value) {
        let asks = self.suite.as_ref().map(|suite| suite.asks()).unwrap_or_default();
        let mut options = json!({});
        for (name, value) in [
            ("maxfail", asks.maxfail.map(u64::from)),
            ("slots", asks.slots.map(u64::from)),
            ("startup_us", asks.startup_us),
        ] {
            if let Some(value) = value {
                options[name] = value.into();
            }
        }
        (asks.deselected, options)
    }

    fn summary(&self) -> String {
        self.suite.as_ref().map(|suite| suite.summary()).unwrap_or_default()
    }

    fn slot(self, start: Start) -> i32 {
        match self.suite {
            Some(mut suite) => {
                suite.forked();
                slot::run(start, suite)
            }
            None => 3,
        }
    }
}
