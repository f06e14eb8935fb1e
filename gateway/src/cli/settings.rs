//! Where a command's settings come from, in one place: flags, then the environment, then the
//! user's file, then defaults. No other file of the command line reads the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::error::CliError;
use crate::client::Secret;

/// The public listener of a server with default settings.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// The admin listener of a server with default settings.
const DEFAULT_ADMIN_URL: &str = "http://127.0.0.1:8081";
/// The hub that models are pulled from.
const DEFAULT_HUB: &str = "https://huggingface.co";
/// The file in the data folder where a server keeps its operator's token.
const OPERATOR_TOKEN_FILE: &str = "operator.token";

/// The flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Flags {
    /// Print JSON on standard output
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// The server's address [env: EMBERBOX_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) url: Option<String>,
    /// The API key; the environment keeps it out of the process list [env: EMBERBOX_API_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub(super) key: Option<String>,
    /// The address of the admin listener [env: EMBERBOX_ADMIN_URL] [default: http://127.0.0.1:8081]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) admin_url: Option<String>,
    /// The operator's token [env: EMBERBOX_OPERATOR_TOKEN] [default: DATA/operator.token]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(super) operator_token: Option<String>,
}

/// The flag of commands that need the server's data folder: for `invoke`, `--data` is a body.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct DataFlag {
    /// The server's data folder [env: EMBERBOX_DATA] [default: ~/.local/share/emberbox]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
}

/// What the process's environment says, read once.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    url: Option<String>,
    key: Option<String>,
    admin_url: Option<String>,
    operator_token: Option<String>,
    data: Option<PathBuf>,
    home: Option<PathBuf>,
    config_home: Option<PathBuf>,
    hub: Option<String>,
    hub_token: Option<String>,
    no_color: bool,
}

impl Environment {
    /// Reads the process's environment.
    pub(super) fn of_process() -> Result<Self, CliError> {
        Ok(Self {
            url: text("EMBERBOX_URL")?,
            key: text("EMBERBOX_API_KEY")?,
            admin_url: text("EMBERBOX_ADMIN_URL")?,
            operator_token: text("EMBERBOX_OPERATOR_TOKEN")?,
            data: value("EMBERBOX_DATA").map(PathBuf::from),
            home: value("HOME").map(PathBuf::from),
            config_home: value("XDG_CONFIG_HOME").map(PathBuf::from),
            // The names that every client of the hub knows.
            hub: text("HF_ENDPOINT")?,
            hub_token: text("HF_TOKEN")?,
            no_color: value("NO_COLOR").is_some(),
        })
    }

    /// Whether the person asked for plain text everywhere (no-color.org).
    pub(super) fn no_color(&self) -> bool {
        self.no_color
    }

    fn home(&self) -> PathBuf {
        self.home.clone().unwrap_or_else(|| PathBuf::from("."))
    }

    fn config_file(&self) -> PathBuf {
        let folder = self.config_home.clone().unwrap_or_else(|| self.home().join(".config"));
        folder.join("emberbox").join("config.toml")
    }

    fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.home().join(".local/share/emberbox"))
    }
}

/// An empty variable counts as absent, as shells make it hard to tell the two apart.
fn value(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Result<Option<String>, CliError> {
    let Some(value) = value(name) else { return Ok(None) };
    match value.into_string() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(CliError::Configuration {
            what: format!("the environment variable {name} is not UTF-8"),
            next: format!("set {name} again, or unset it"),
        }),
    }
}

/// The user's file, as `emberbox login` writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operator_token: Option<String>,
}

impl UserFile {
    /// Reads the file; one that is not there is empty.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(CliError::File { path: path.to_owned(), source }),
        };
        toml::from_str(&text).map_err(|error| CliError::Configuration {
            what: format!("{}: {}", path.display(), error.message()),
            next: "correct the file, or write it anew with `emberbox login`".to_owned(),
        })
    }

    /// Replaces the file in one step, readable by its owner alone.
    pub(super) fn write(&self, path: &Path) -> Result<(), CliError> {
        let failed = |source| CliError::File { path: path.to_owned(), source };
        let text = toml::to_string(self).map_err(|error| failed(std::io::Error::other(error)))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        // Temporary files are made with mode 0600, which the file keeps under its name.
        let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        std::fs::write(file.path(), text).map_err(failed)?;
        file.persist(path).map(drop).map_err(|error| failed(error.error))
    }
}

/// The settings of one command.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) url: String,
    pub(super) key: Option<Secret>,
    pub(super) admin_url: String,
    pub(super) config_file: PathBuf,
    /// The hub that models are pulled from, and what it knows the user by.
    pub(super) hub: String,
    pub(super) hub_token: Option<Secret>,
    data: PathBuf,
    operator_token: Option<Secret>,
}

impl Settings {
    /// Flags, then the environment, then the user's file, then defaults.
    pub(super) fn resolve(flags: &Flags, environment: &Environment) -> Result<Self, CliError> {
        let config_file = environment.config_file();
        let file = UserFile::read(&config_file)?;
        let first = |flag: &Option<String>, variable: &Option<String>, stored: Option<String>| {
            flag.clone().or_else(|| variable.clone()).or(stored)
        };
        let key = first(&flags.key, &environment.key, file.key);
        let token = first(&flags.operator_token, &environment.operator_token, file.operator_token);
        Ok(Self {
            url: first(&flags.url, &environment.url, file.url)
                .unwrap_or_else(|| DEFAULT_URL.to_owned()),
            key: key.as_deref().map(Secret::new),
            admin_url: first(&flags.admin_url, &environment.admin_url, file.admin_url)
                .unwrap_or_else(|| DEFAULT_ADMIN_URL.to_owned()),
            operator_token: token.as_deref().map(Secret::new),
            hub: environment.hub.clone().unwrap_or_else(|| DEFAULT_HUB.to_owned()),
            hub_token: environment.hub_token.as_deref().map(Secret::new),
            data: environment.data_folder(),
            config_file,
        })
    }

    /// The server's data folder on this machine.
    pub(super) fn data_folder(&self, flag: &DataFlag) -> PathBuf {
        flag.data.as_ref().unwrap_or(&self.data).clone()
    }

    /// The operator's token: as set, or as the server on this machine keeps it.
    pub(super) fn operator_token(&self, flag: &DataFlag) -> Result<Secret, CliError> {
        if let Some(token) = &self.operator_token {
            return Ok(token.clone());
        }
        let path = self.data_folder(flag).join(OPERATOR_TOKEN_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| CliError::Configuration {
            what: format!(
                "this is an operator's command, and there is no operator token: {}: {error}",
                path.display()
            ),
            next: "run it on the server's machine with the server's --data, or set \
                   EMBERBOX_OPERATOR_TOKEN"
                .to_owned(),
        })?;
        Ok(Secret::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// An environment of a home folder that has this user's file.
    fn home(file: &str) -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().unwrap();
        let environment =
            Environment { home: Some(folder.path().to_owned()), ..Environment::default() };
        let path = environment.config_file();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
        (folder, environment)
    }

    #[test]
    fn the_nearest_setting_wins() {
        let file = "url = \"http://file\"\nkey = \"file\"\n";
        for (flag, variable, file, expected) in [
            (some("http://flag"), some("http://env"), file, "http://flag"),
            (None, some("http://env"), file, "http://env"),
            (None, None, file, "http://file"),
            (None, None, "", DEFAULT_URL),
        ] {
            let (_folder, mut environment) = home(file);
            environment.url = variable;
            let flags = Flags { url: flag, ..Flags::default() };
            let settings = Settings::resolve(&flags, &environment).unwrap();
            assert_eq!(settings.url, expected);
            assert_eq!(settings.admin_url, DEFAULT_ADMIN_URL);
        }
    }

    #[test]
    fn the_key_is_trimmed_and_may_be_absent() {
        let (_folder, mut environment) = home("");
        let flags = Flags::default();
        assert_eq!(Settings::resolve(&flags, &environment).unwrap().key, None);
        environment.key = some(" eb_1\n");
        let key = Settings::resolve(&flags, &environment).unwrap().key.unwrap();
        assert_eq!(key.reveal(), "eb_1");
    }

    #[test]
    fn a_wrong_file_is_named() {
        for file in ["url = 3", "surprise = \"x\"", "url = \""] {
            let (_folder, environment) = home(file);
            let error = Settings::resolve(&Flags::default(), &environment).unwrap_err();
            assert_eq!(error.exit_code(), 64, "{file}");
            assert!(error.to_string().contains("config.toml"), "{error}");
        }
    }

    #[test]
    fn the_operators_token_is_found_in_the_data_folder() {
        let (folder, environment) = home("");
        let data = folder.path().join("data");
        let flag = DataFlag { data: Some(data.clone()) };
        let settings = Settings::resolve(&Flags::default(), &environment).unwrap();
        let error = settings.operator_token(&flag).unwrap_err();
        assert_eq!(error.exit_code(), 64);
        assert!(error.to_string().contains("operator.token"), "{error}");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join(OPERATOR_TOKEN_FILE), "token\n").unwrap();
        assert_eq!(settings.operator_token(&flag).unwrap().reveal(), "token");
        let flags = Flags { operator_token: some("flag"), ..Flags::default() };
        let settings = Settings::resolve(&flags, &environment).unwrap();
        assert_eq!(settings.operator_token(&flag).unwrap().reveal(), "flag");
    }

    #[cfg(unix)]
    #[test]
    fn the_users_file_is_private_and_read_back() {
        use std::os::unix::fs::PermissionsExt;

        let (_folder, environment) = home("key = \"old\"");
        let path = environment.config_file();
        let file = UserFile { key: some("eb_new"), ..UserFile::default() };
        file.write(&path).unwrap();
        assert_eq!(UserFile::read(&path).unwrap(), file);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn folders_follow_the_environment() {
        let home = Environment { home: Some("/h".into()), ..Environment::default() };
        let moved = Environment { config_home: Some("/c".into()), ..home.clone() };
        let named = Environment { data: Some("/x".into()), ..moved.clone() };
        for (environment, config, data) in [
            (home, "/h/.config/emberbox/config.toml", "/h/.local/share/emberbox"),
            (moved, "/c/emberbox/config.toml", "/h/.local/share/emberbox"),
            (named, "/c/emberbox/config.toml", "/x"),
        ] {
            assert_eq!(environment.config_file(), Path::new(config));
            assert_eq!(environment.data_folder(), Path::new(data));
        }
    }
}
