//! What the client's errors mean: which of our words a server's refusal is. What may be tried again is `connection`'s; the
//! repair is `hint`'s.

use redis::{ErrorKind, RedisError};

use crate::connection::Store;
use crate::error::StoreError;

/// How the client begins when a server refuses the database of the address.
const DATABASE: &str = "refused to switch database";

impl Store {
    /// Why a connection could not be made, or may not do what is needed.
    pub(crate) fn refusal(&self, error: &RedisError) -> StoreError {
        let (at, why) = (self.address().to_owned(), plain(error));
        if let Some(why) = denial(error) {
            return StoreError::Forbidden { at, why };
        }
        match error.code() {
            Some("NOAUTH" | "WRONGPASS") => return StoreError::Auth { at, why },
            Some("LOADING" | "MASTERDOWN" | "BUSY" | "READONLY") => return StoreError::Unreachable { at, why },
            _ => {}
        }
        match error.kind() {
            _ if why.contains(DATABASE) => {
                let database = self.client().get_connection_info().redis_settings().db();
                StoreError::NoDatabase { at, database, why: error.detail().unwrap_or(&why).to_owned() }
            }
            ErrorKind::AuthenticationFailed => StoreError::Auth { at, why },
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => StoreError::NotRedis { at, why },
            ErrorKind::InvalidClientConfig => StoreError::Address { at, why },
            _ if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() => {
                StoreError::Unreachable { at, why }
            }
            _ => StoreError::NotRedis { at, why },
        }
    }
}

/// An error on one line.
pub(crate) fn plain(error: &RedisError) -> String {
    error.to_string().replace('\n', " ")
}

/// What the user may not do, if that is what the error is about.
pub(crate) fn denial(error: &RedisError) -> Option<String> {
    denied(&plain(error), error.code() == Some("NOPERM"))
}

/// The same of its text: of what a script may not do there is no code.
fn denied(text: &str, said: bool) -> Option<String> {
    let user = "this user has no permissions to";
    if text.contains("can't run this command") {
        return Some(format!("{user} run a command that Remuda's scripts use"));
    }
    if text.contains("can't access at least one of the keys") {
        return Some(format!("{user} access keys of this farm"));
    }
    if text.contains("can't publish to the channel") {
        return Some(format!("{user} publish on channels of this farm"));
    }
    if let Some((_, why)) = text.split_once("ACL failure in script: ") {
        return Some(why.split(" script: ").next().unwrap_or(why).to_owned());
    }
    let what = text.rsplit("NoPerm: ").next().unwrap_or(text);
    (said || what.len() < text.len()).then(|| what.trim_end_matches(")]").to_owned())
}

#[cfg(test)]
mod tests {
    use super::denied;

    #[test]
    fn what_a_user_may_not_do_is_told_in_few_words() {
        let told = |text: &str| denied(text, false).unwrap();
        let inside =
            "The user executing the script can't run this command or subcommand script: 70d0, on @user_script:33.";
        assert_eq!(told(inside), "this user has no permissions to run a command that Remuda's scripts use");
        let newer = "An error: ERR ACL failure in script: User min has no permissions to run the 'hset' command script: 70d0, on @user_script:33.";
        assert_eq!(told(newer), "User min has no permissions to run the 'hset' command");
        let reads =
            "Pipeline failure: [(Index 0, error: NoPerm: this user has no permissions to run the 'publish' command)]";
        assert_eq!(told(reads), "this user has no permissions to run the 'publish' command");
        assert_eq!(denied("LOADING Redis is loading", false), None);
    }
}
