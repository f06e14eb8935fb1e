//! `emberbox.toml`: what a function's author declares about it.
//!
//! The command line reads it before an upload and the server reads it again on arrival, so both
//! refuse the same things in the same words. Every mistake is reported, not only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use emberbox_billing::Nano;
use emberbox_runtime::Metering;

use self::checks::{
    check_arguments, check_build, check_component, check_models, check_secrets, check_variable,
    positive,
};
use self::section::Section;
use crate::call_limits::{self, CallLimits};
use crate::config::Rules;

mod checks;
mod section;
#[cfg(test)]
mod tests;

/// The name of the manifest in a function's folder.
pub const FILE_NAME: &str = "emberbox.toml";
/// The longest manifest that is read. It travels in a request header, which is bounded too.
pub const MANIFEST_BYTES_MAX: usize = 8 * 1024;
/// The longest name of a function: it must fit a DNS label.
pub const NAME_CHARS_MAX: usize = 63;
/// How many models one function may be granted.
pub const MODELS_MAX: usize = 16;
/// The longest name of a model.
pub const MODEL_NAME_CHARS_MAX: usize = 128;
/// How many arguments one command may have.
pub const ARGUMENTS_MAX: usize = 64;
/// How many environment values one function may carry.
pub const ENVIRONMENT_ENTRIES_MAX: usize = 64;
/// How many secrets one function may name.
pub const SECRETS_MAX: usize = 32;
/// The highest markup on compute time: a hundred times the platform's own price.
pub const MARKUP_BPS_MAX: u32 = 1_000_000;

const MARKUP_BPS: RangeInclusive<u32> = 0..=MARKUP_BPS_MAX;

/// A manifest that was read whole and found to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The function's name, `[a-z][a-z0-9-]{0,62}`.
    pub name: String,
    /// Where the built component lies, relative to the manifest; `None`: where Cargo puts it.
    pub component: Option<String>,
    /// The command that builds it, in the function's folder; `None`: Cargo does.
    pub build: Option<String>,
    /// The most that one call may cost, in credits: the hold that is taken before the call.
    pub max_cost_per_call: Nano,
    /// The models that the function may load, by name.
    pub models: BTreeSet<String>,
    /// Whether it wants to load models from its own memory.
    pub load_models: bool,
    /// What the author takes on top of the platform's prices.
    pub price: Price,
    /// What one call may use.
    pub limits: CallLimits,
    /// Plain values that the function finds in its environment.
    pub environment: BTreeMap<String, String>,
    /// Secrets of its organisation that the function finds in its environment, by name.
    pub secrets: BTreeSet<String>,
    /// Arguments of a core module, after the program's name.
    pub arguments: Vec<String>,
    /// Hosts that the function wants to send requests to.
    pub outbound_hosts: Rules,
    /// Whether an instance answers several requests of one payer.
    pub reuse_instances: bool,
    /// How its computing is counted, and paid.
    pub metering: Metering,
}

/// The author's own price. All zero when the manifest has no `[price]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Credits per call.
    pub call_fee: Nano,
    /// Markup on compute time, in basis points of the platform's price.
    pub compute_markup_bps: u32,
}

impl Default for Price {
    fn default() -> Self {
        Self { call_fee: Nano::from_nano(0), compute_markup_bps: 0 }
    }
}

/// One thing that is wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The dotted name of the field, or empty when the text is not TOML at all.
    pub field: String,
    /// What is wrong with it, and what is expected.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// A manifest that cannot be used, with everything that is wrong in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{FILE_NAME} has {}", listed(.mistakes))]
pub struct ManifestError {
    /// At least one mistake, in the order in which the fields are documented.
    pub mistakes: Vec<Mistake>,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Lists every mistake: text that is not TOML, fields that are missing, unknown, of the wrong
    /// type or out of range.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut mistakes = Vec::new();
        let manifest = read(text, &mut mistakes);
        match manifest {
            Some(manifest) if mistakes.is_empty() => Ok(manifest),
            _ => Err(ManifestError { mistakes }),
        }
    }
}

/// Checks a function's name alone, as the command line and the routes need it.
///
/// # Errors
/// Says what a name looks like.
pub fn check_name(name: &str) -> Result<(), String> {
    let mut characters = name.chars();
    let starts_well = characters.next().is_some_and(|first| first.is_ascii_lowercase());
    let goes_on_well = characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if starts_well && goes_on_well && name.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    Err(format!(
        "a name starts with a small letter, has only small letters, digits and hyphens, and at \
         most {NAME_CHARS_MAX} characters"
    ))
}

fn read(text: &str, mistakes: &mut Vec<Mistake>) -> Option<Manifest> {
    if text.len() > MANIFEST_BYTES_MAX {
        let reason =
            format!("it is {} bytes long; at most {MANIFEST_BYTES_MAX} are read", text.len());
        mistakes.push(Mistake { field: String::new(), reason });
        return None;
    }
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            let reason = not_toml(text, &error);
            mistakes.push(Mistake { field: String::new(), reason });
            return None;
        }
    };
    let mut root = Section::root(table, mistakes);
    let function = root.table("function", true).map(read_function);
    let price = root.table("price", false).map(read_price);
    let limits = root.table("limits", false).map(read_limits);
    let environment = root.table("environment", false).map(read_environment);
    root.refuse_unknown(&["function", "price", "limits", "environment"]);

    let function = function??;
    let price = price.unwrap_or_default();
    let max_cost_per_call = function.max_cost_per_call;
    if price.call_fee > max_cost_per_call {
        mistakes.push(Mistake {
            field: "price.call_fee".to_owned(),
            reason: format!(
                "{} is above function.max_cost_per_call ({max_cost_per_call}), so no call could \
                 ever pay it",
                price.call_fee
            ),
        });
    }
    let limits = limits.unwrap_or(CallLimits::USUAL);
    if function.metering == Metering::Cpu && limits.fuel_millions != CallLimits::USUAL.fuel_millions
    {
        let reason = "fuel is counted only with function.metering = \"fuel\"".to_owned();
        mistakes.push(Mistake { field: "limits.fuel_millions".to_owned(), reason });
    }
    let environment = environment.unwrap_or_default();
    if let Some(name) = function.secrets.iter().find(|name| environment.contains_key(*name)) {
        let reason = format!("'{name}' is in [environment] too, with its value for all to read");
        mistakes.push(Mistake { field: "function.secrets".to_owned(), reason });
    }
    Some(Manifest {
        name: function.name,
        component: function.component,
        build: function.build,
        max_cost_per_call,
        models: function.models,
        load_models: function.load_models,
        price,
        limits,
        environment,
        secrets: function.secrets,
        arguments: function.arguments,
        outbound_hosts: function.outbound_hosts,
        reuse_instances: function.reuse_instances,
        metering: function.metering,
    })
}

/// The table `[function]`.
struct FunctionPart {
    name: String,
    component: Option<String>,
    build: Option<String>,
    max_cost_per_call: Nano,
    models: BTreeSet<String>,
    load_models: bool,
    secrets: BTreeSet<String>,
    arguments: Vec<String>,
    outbound_hosts: Rules,
    reuse_instances: bool,
    metering: Metering,
}

fn read_function(mut section: Section<'_>) -> Option<FunctionPart> {
    let name = section.text("name", true);
    let name = section.keep_if("name", name, |name| check_name(name));
    let component = section.text("component", false);
    let component = section.keep_if("component", component, |path| check_component(path));
    let build = section.text("build", false);
    let build = section.keep_if("build", build, |command| check_build(command, &component));
    let max_cost = section.credits("max_cost_per_call", true);
    let max_cost = section.keep_if("max_cost_per_call", max_cost, |cost| {
        positive(*cost, "it is the most one call may cost, in credits, such as \"0.01\"")
    });
    let models = section.texts("models");
    let models = section.keep_if("models", models, |models| check_models(models));
    let load_models = section.flag("load_models").unwrap_or(false);
    let secrets = section.texts("secrets");
    let secrets = section.keep_if("secrets", secrets, |names| check_secrets(names));
    let arguments = section.texts("arguments");
    let arguments = section.keep_if("arguments", arguments, |texts| check_arguments(texts));
    let hosts = section.texts("outbound_hosts").unwrap_or_default();
    let outbound_hosts = Rules::read(hosts.iter().map(String::as_str)).unwrap_or_else(|reason| {
        section.refuse("outbound_hosts", reason);
        Rules::default()
    });
    let reuse_instances = section.flag("reuse_instances").unwrap_or(false);
    let metering = section.parsed("metering").unwrap_or_default();
    section.refuse_unknown(&[
        "name",
        "component",
        "build",
        "max_cost_per_call",
        "models",
        "load_models",
        "secrets",
        "arguments",
        "outbound_hosts",
        "reuse_instances",
        "metering",
    ]);
    Some(FunctionPart {
        name: name?,
        component,
        build,
        max_cost_per_call: max_cost?,
        models: models.unwrap_or_default().into_iter().collect(),
        load_models,
        secrets: secrets.unwrap_or_default().into_iter().collect(),
        arguments: arguments.unwrap_or_default(),
        outbound_hosts,
        reuse_instances,
        metering,
    })
}

fn read_price(mut section: Section<'_>) -> Price {
    let call_fee = section.credits("call_fee", false);
    let call_fee = section.keep_if("call_fee", call_fee, |fee| {
        if *fee < Nano::from_nano(0) { Err(format!("{fee} is negative")) } else { Ok(()) }
    });
    let compute_markup_bps = section.integer("compute_markup_bps", MARKUP_BPS);
    section.refuse_unknown(&["call_fee", "compute_markup_bps"]);
    let none = Price::default();
    Price {
        call_fee: call_fee.unwrap_or(none.call_fee),
        compute_markup_bps: compute_markup_bps.unwrap_or(none.compute_markup_bps),
    }
}

fn read_limits(mut section: Section<'_>) -> CallLimits {
    let mut limits = CallLimits::USUAL;
    for limit in call_limits::ALL {
        if let Some(value) = section.integer(limit.name, 1..=limit.most) {
            *limit.set(&mut limits) = value;
        }
    }
    let names: Vec<&str> = call_limits::ALL.iter().map(|limit| limit.name).collect();
    section.refuse_unknown(&names);
    limits
}

fn read_environment(mut section: Section<'_>) -> BTreeMap<String, String> {
    let names = section.names();
    if names.len() > ENVIRONMENT_ENTRIES_MAX {
        section.refuse(
            "",
            format!("{} values are given; at most {ENVIRONMENT_ENTRIES_MAX} are kept", names.len()),
        );
        return BTreeMap::new();
    }
    let mut values = BTreeMap::new();
    for name in names {
        let value = section.text(&name, true);
        let value = section.keep_if(&name, value, |value| check_variable(&name, value));
        if let Some(value) = value {
            values.insert(name, value);
        }
    }
    values
}

/// One line for a text that is not TOML, with the place: the library's own message draws the
/// source over several lines, which does not fit a list of mistakes.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let Some(span) = error.span() else { return format!("it is not TOML: {message}") };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("it is not TOML: line {line}, column {column}: {message}")
}

fn listed(mistakes: &[Mistake]) -> String {
    match mistakes {
        [one] => format!("a mistake: {one}"),
        many => {
            let lines: Vec<String> = many.iter().map(|m| format!("\n  {m}")).collect();
            format!("{} mistakes:{}", many.len(), lines.concat())
        }
    }
}
