//! `sulcus config`: what a site's configuration says.

use clap::Subcommand;

use super::{CommandError, SiteFile, words::counted};
use crate::{devices::check_models, rules::rules, worker::check_devices};

#[derive(Subcommand)]
pub(super) enum Config {
    /// Read a configuration, its model packages and its expressions, load ONNX Runtime for its devices, and say what is
    /// wrong: what passes, `serve` starts with.
    Check(SiteFile),
    /// Print the JSON Schema of a configuration, for editors.
    Schema,
    /// Print a configuration with every default written out.
    Show(Show),
}

#[derive(clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    site: SiteFile,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn execute(self) -> Result<(), CommandError> {
        match self {
            Config::Check(file) => {
                let site = file.load()?;
                rules(&site)?;
                check_devices(&site)?;
                check_models(&site)?;
                outln!(
                    "{}: {}, {}, {}, {}; all can be used",
                    file.config.display(),
                    counted(site.sources.len(), "source"),
                    counted(site.pipelines.len(), "pipeline"),
                    counted(site.destinations.len(), "destination"),
                    counted(site.devices.len(), "device")
                );
            }
            Config::Schema => outln!("{:#}", sulcus_config::Site::schema()),
            Config::Show(show) => {
                let site = show.site.load()?;
                if show.json {
                    outln!("{}", serde_json::to_string_pretty(&site).map_err(CommandError::plain)?);
                } else {
                    outln!("{}", site.to_toml().map_err(CommandError::plain)?.trim_end());
                }
            }
        }
        Ok(())
    }
}
