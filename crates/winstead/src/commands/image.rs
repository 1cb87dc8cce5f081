//! `winstead image`: golden images.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use jiff::Timestamp;
use serde::Serialize;
use winstead_engine::Engine;
use winstead_spec::Image;

use crate::{
    commands::{get::chosen, tables},
    context::Context,
    error::CliError,
    files::FileArgs,
    output::{self, counted, short_digest},
    selection::name,
};

const EXAMPLES: &str = "\
Examples:
  winstead image build -f agents.yaml
  winstead image list
  winstead image verify debian
  winstead image rm debian --digest 3f9a";

/// Builds, lists, checks and removes golden images.
///
/// `winstead up` builds what it needs by itself; an unchanged recipe is never built twice.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ImageCommand {
    Build(BuildArgs),
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Verify(VerifyArgs),
    Rm(RmArgs),
}

/// Builds the images of a file, or finds that their recipes were built before.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead image build -f agents.yaml
  winstead image build -f agents.yaml debian
  winstead image build -f agents.yaml --dry-run
  winstead image build -f agents.yaml --fresh     with the newest packages; `up` then goes over to it")]
struct BuildArgs {
    /// Only these images of the file.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Builds again what was built before: the archive may have newer packages.
    #[arg(long)]
    fresh: bool,
    /// Shows what would be built, and builds nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Lists the versions of images, and who uses them.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead image list
  winstead image list debian -o yaml        with provenance: from what, when, with which tools")]
struct ListArgs {
    /// Only these images.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Reads images completely and compares them with their digests.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead image verify
  winstead image verify debian")]
struct VerifyArgs {
    /// Only this image.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Removes versions of an image. One that machines stand on is not removed (exit code 3).
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead image rm debian                  all its versions
  winstead image rm debian --digest 3f9a    the version whose digest begins so
  winstead image rm debian --dry-run")]
struct RmArgs {
    /// The image.
    #[arg(value_name = "NAME")]
    name: String,
    /// Only the version whose digest begins with this.
    // An empty variable in a script must not mean all versions.
    #[arg(long, value_name = "DIGITS", value_parser = NonEmptyStringValueParser::new())]
    digest: Option<String>,
    /// Shows what would be removed, and removes nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct OneVersion {
    image: String,
    digest: String,
}

/// What a build would do with one image of the file.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum PlannedBuild {
    Build { image: String },
    Keep { image: String, digest: String, built_at: Timestamp },
}

impl PlannedBuild {
    fn line(&self) -> String {
        match self {
            Self::Build { image } => format!("+ {image}, to be built\n"),
            Self::Keep { image, digest, built_at } => {
                format!("= {image} {} built {built_at:.0}\n", short_digest(digest))
            }
        }
    }
}

impl ImageArgs {
    /// Whether an interrupt has to wait until the command has ended cleanly.
    pub(crate) const fn changes_something(&self) -> bool {
        matches!(self.command, ImageCommand::Build(_) | ImageCommand::Rm(_))
    }
}

/// Runs `image`.
///
/// # Errors
/// As its commands.
pub(crate) async fn run(context: &Context, args: &ImageArgs) -> Result<(), CliError> {
    match &args.command {
        ImageCommand::Build(args) => build(context, args).await,
        ImageCommand::List(args) => list(context, &args.names).await,
        ImageCommand::Verify(args) => verify(context, args).await,
        ImageCommand::Rm(args) => remove(context, args).await,
    }
}

async fn build(context: &Context, args: &BuildArgs) -> Result<(), CliError> {
    let documents = args.files.documents("image build", &context.stop).await?;
    let images = wanted(documents.images, &args.names)?;
    let engine = context.engine().await?;
    if args.dry_run {
        return announce(context, &engine, &images, args.fresh);
    }
    let listener = context.listener();
    for image in &images {
        if args.fresh {
            Box::pin(engine.build_image_fresh(image, &listener, &context.stop)).await?;
        } else {
            Box::pin(engine.build_image(image, &listener, &context.stop)).await?;
        }
    }
    drop(listener);
    let names: Vec<String> = images.iter().map(|image| image.name.to_string()).collect();
    list(context, &names).await
}

/// The images of the file with these names, in the order of the file; all when none is named.
fn wanted(mut images: Vec<Image>, names: &[String]) -> Result<Vec<Image>, CliError> {
    if let Some(missing) =
        names.iter().find(|wanted| images.iter().all(|image| image.name.as_str() != *wanted))
    {
        let known: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
        let hint = format!("its images are: {}", known.join(", "));
        return Err(CliError::usage(format!("find the image {missing} in the file"), hint));
    }
    if !names.is_empty() {
        images.retain(|image| names.iter().any(|wanted| image.name.as_str() == wanted));
    }
    if images.is_empty() {
        return Err(CliError::usage(
            "find an image in the file",
            "a document of `kind: Image` is one; see `winstead schema`",
        ));
    }
    Ok(images)
}

/// Shows what a build would do. Nobody has to be waited for: the catalogue is only looked at.
fn announce(context: &Context, engine: &Engine, images: &[Image], fresh: bool) -> Result<(), CliError> {
    let mut builds = Vec::new();
    for image in images {
        let found = if fresh { None } else { engine.built_image(image)? };
        let image = image.name.to_string();
        builds.push(match found {
            None => PlannedBuild::Build { image },
            Some(version) => {
                let (digest, built_at) = (version.digest.to_string(), version.built_at);
                PlannedBuild::Keep { image, digest, built_at }
            }
        });
    }
    output::show_items(context, "PlannedBuildList", builds, PlannedBuild::line)
}

async fn list(context: &Context, names: &[String]) -> Result<(), CliError> {
    let engine = context.engine().await?;
    let list = chosen(engine.images().await?, names, "image", |image| &image.metadata.name)?;
    output::show(&context.ui, context.format, &list, tables::images)?;
    if list.items.is_empty() {
        context.ui.note("no images");
    }
    Ok(())
}

async fn verify(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    let wanted = args.name.as_deref().map(name).transpose()?;
    let engine = context.engine().await?;
    let (good, bad) = engine.verify_image(wanted.as_ref(), &context.stop).await?;
    let items =
        good.iter().map(|(name, digest)| OneVersion { image: name.to_string(), digest: digest.to_string() });
    output::show_items(context, "VerifiedList", items.collect(), |item: &OneVersion| {
        format!("{} {} ok\n", item.image, item.digest)
    })?;
    context.ui.note(&format!("{} as built", counted(good.len(), "version")));
    // One is told as the reason of the exit code, the others before it.
    let mut bad = bad.into_iter();
    let Some(reason) = bad.next() else { return Ok(()) };
    for error in bad.map(CliError::from) {
        context.ui.error(&error);
    }
    Err(reason.into())
}

async fn remove(context: &Context, args: &RmArgs) -> Result<(), CliError> {
    let image = name(&args.name)?;
    let digest = args.digest.as_deref().map(|digest| digest.strip_prefix("sha256:").unwrap_or(digest));
    let engine = context.engine().await?;
    let chosen = if args.dry_run {
        engine.image_removal(&image, digest).await?
    } else {
        engine.remove_image(&image, digest, &context.listener(), &context.stop).await?
    };
    let items = chosen.iter().map(|digits| OneVersion { image: image.to_string(), digest: digits.clone() });
    output::show_items(context, "RemovedList", items.collect(), |item: &OneVersion| {
        format!("- {} {}\n", item.image, item.digest)
    })?;
    if !args.dry_run {
        context.ui.note(&format!("{} of {image} removed", counted(chosen.len(), "version")));
    }
    Ok(())
}
