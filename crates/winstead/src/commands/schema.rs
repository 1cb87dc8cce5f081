//! `winstead schema`: what a file may hold.

use clap::Args;

use crate::{cli::Format, context::Context, error::CliError, output};

const EXAMPLES: &str = "\
Examples:
  winstead schema > winstead.schema.json

Then begin a file with this line, and editors with a YAML language server complete and check it:
  # yaml-language-server: $schema=winstead.schema.json";

/// Prints the JSON Schema of Winstead's files, for editors.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SchemaArgs {}

/// Runs `schema`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn run(context: &Context, _args: &SchemaArgs) -> Result<(), CliError> {
    let format = if context.format == Format::Yaml { Format::Yaml } else { Format::Json };
    output::show(&context.ui, format, &winstead_spec::schema(), |_, _| String::new())
}
