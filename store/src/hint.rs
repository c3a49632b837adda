//! How trouble with Redis is repaired, for whoever shows it: the client and the worker say the same. The texts are what can
//! be done at the server and in its address; what else a program can do is that program's to add.

use crate::error::StoreError;

impl StoreError {
    /// The repair, where it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Address { .. } => "write redis://host:6379, rediss://host:6379 (TLS) or unix:///path/to/redis.sock",
            Self::Farm { .. } => {
                "a farm's name has up to 100 letters (a to z), digits, `-`, `_` and `.`, and does not begin with `.`"
            }
            Self::Unreachable { why, .. } if why.contains("certificate") => {
                "the server's certificate must be signed for this name by an authority that this machine trusts: put that authority's PEM file into the machine's store, or name it in SSL_CERT_FILE"
            }
            Self::Unreachable { .. } => "see whether it runs and can be reached from here",
            Self::Auth { at, why } if why.contains("NOAUTH") && at.contains("unix:") => {
                "put user and password into the address: unix:///path?user=NAME&pass=PASSWORD"
            }
            Self::Auth { why, .. } if why.contains("NOAUTH") => {
                "put user and password into the address: redis://user:password@host"
            }
            Self::Auth { .. } => {
                "the user or the password in the address is not the server's; a user that is left out is `default`, and `@`, `/`, `:`, `&` and `%` in a password are written %40, %2F, %3A, %26 and %25"
            }
            Self::NoDatabase { .. } => {
                "a Redis has the databases 0 to 15 unless it is configured otherwise (`databases`), and a cluster only 0: leave the number out of the address; --farm NAME keeps jobs and workers apart"
            }
            Self::NotRedis { .. } => "look at host, port and scheme; rediss:// is for TLS",
            Self::TooOld { .. } => "update it, or use another server",
            Self::Evicting { .. } => {
                "set `maxmemory-policy noeviction` in its configuration (CONFIG SET maxmemory-policy noeviction)"
            }
            Self::Full { .. } => "give it more memory (CONFIG SET maxmemory), or submit fewer tests at once",
            Self::Schema { .. } => "use the same version of Remuda on every machine, or another --farm",
            Self::Forbidden { .. } => {
                "give it what a farm needs: ACL SETUSER USER ~remuda:{FARM}:* &remuda:{FARM}:* +@all -@admin -@dangerous +info (FARM is `default` unless --farm says otherwise)"
            }
            Self::UnknownJob { .. } => {
                "it was freed (`remuda gc`, or a day after its end), or Redis lost its data: `appendonly yes` in its configuration keeps jobs over a restart; send it again"
            }
            _ => return None,
        })
    }
}
