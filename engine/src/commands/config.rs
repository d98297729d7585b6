//! `sulcus config`: what a site's configuration says.

use clap::Subcommand;

use super::{CommandError, SiteFile};
use crate::rules::rules;

#[derive(Subcommand)]
pub(super) enum Config {
    /// Read a configuration, its model packages and its expressions, and say what is wrong with them.
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
                println!(
                    "{}: {} sources, {} pipelines, {} destinations, {} devices; all can be used",
                    file.config.display(),
                    site.sources.len(),
                    site.pipelines.len(),
                    site.destinations.len(),
                    site.devices.len()
                );
            }
            Config::Schema => println!("{:#}", sulcus_config::Site::schema()),
            Config::Show(show) => {
                let site = show.site.load()?;
                if show.json {
                    println!("{}", serde_json::to_string_pretty(&site).map_err(CommandError::plain)?);
                } else {
                    print!("{}", site.to_toml().map_err(CommandError::plain)?);
                }
            }
        }
        Ok(())
    }
}
