//! What a field's type alone does not say.

use emberbox_billing::Nano;

use super::{ARGUMENTS_MAX, MODEL_NAME_CHARS_MAX, MODELS_MAX, SECRETS_MAX};

pub(super) fn check_component(path: &str) -> Result<(), String> {
    if path.is_empty() || path.contains('\0') {
        return Err("it is the path of the built component; leave it out to use Cargo's".to_owned());
    }
    Ok(())
}

pub(super) fn check_build(command: &str, component: &Option<String>) -> Result<(), String> {
    if command.trim().is_empty() || command.contains('\0') {
        return Err("it is a command, such as \"npm run build\"".to_owned());
    }
    match component {
        Some(_) => Ok(()),
        None => Err("function.component must say which file it makes".to_owned()),
    }
}

pub(super) fn check_arguments(arguments: &[String]) -> Result<(), String> {
    if arguments.len() > ARGUMENTS_MAX {
        return Err(format!("{} are given; at most {ARGUMENTS_MAX} are kept", arguments.len()));
    }
    match arguments.iter().any(|argument| argument.contains('\0')) {
        true => Err("an argument cannot hold a zero byte".to_owned()),
        false => Ok(()),
    }
}

pub(super) fn check_models(models: &[String]) -> Result<(), String> {
    if models.len() > MODELS_MAX {
        return Err(format!("{} models are named; at most {MODELS_MAX} are granted", models.len()));
    }
    let fits = |name: &&String| name.is_empty() || name.chars().count() > MODEL_NAME_CHARS_MAX;
    match models.iter().find(fits) {
        Some(_) => Err(format!("a model's name has 1 to {MODEL_NAME_CHARS_MAX} characters")),
        None => Ok(()),
    }
}

pub(super) fn check_secrets(names: &[String]) -> Result<(), String> {
    if names.len() > SECRETS_MAX {
        return Err(format!(
            "{} secrets are named; at most {SECRETS_MAX} are granted",
            names.len()
        ));
    }
    let checked = names.iter().try_for_each(|name| emberbox_catalog::check_secret_name(name));
    checked.map_err(|error| error.to_string())
}

pub(super) fn check_variable(name: &str, value: &str) -> Result<(), String> {
    let mut characters = name.chars();
    let starts_well = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("a variable's name has only letters, digits and underscores, and does not \
                    start with a digit"
            .to_owned());
    }
    if value.contains('\0') {
        return Err("a value cannot hold a zero byte".to_owned());
    }
    Ok(())
}

pub(super) fn positive(amount: Nano, meaning: &str) -> Result<(), String> {
    if amount > Nano::from_nano(0) {
        return Ok(());
    }
    Err(format!("{amount} is not above zero; {meaning}"))
}
