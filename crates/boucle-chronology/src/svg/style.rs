//! Fonts, colours and patterns.
//!
//! Blue, vermilion and amber are told apart with any common colour blindness, and each has another lightness besides.
//! Colours are set by class and not by variables: converters such as librsvg know no variables.

use super::markup::{monospaced, proportional};

/// A font by what is needed to estimate the width of a text.
#[derive(Clone, Copy)]
pub(super) struct Font {
    pub(super) size: f64,
    /// How wide a character is, in ems.
    widths: fn(char) -> f64,
}

impl Font {
    pub(super) fn advance(self, character: char) -> f64 {
        (self.widths)(character)
    }
}

/// Its weight makes it wider than its size says.
pub(super) const HEADLINE: Font = Font { size: 20.5, widths: proportional };
pub(super) const STORY: Font = Font { size: 14.0, widths: proportional };
pub(super) const FACTS: Font = Font { size: 12.5, widths: proportional };
pub(super) const NAME: Font = Font { size: 13.0, widths: proportional };
pub(super) const CODE: Font = Font { size: 10.5, widths: monospaced };
pub(super) const TICK: Font = Font { size: 11.0, widths: proportional };
pub(super) const IN_BAR: Font = Font { size: 11.5, widths: proportional };

/// The style sheet and the patterns. All rules are below the class of the picture, since a page may hold it inline.
pub(super) const STYLE: &str = r#"<style>
.boucle text{font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","DejaVu Sans",Arial,sans-serif;fill:#1f2328}
.boucle .headline{font-size:18px;font-weight:600}
.boucle .alarm{fill:#a52a06}
.boucle .story{font-size:14px}
.boucle .name{font-size:13px;font-weight:500}
.boucle .processor{font-weight:600}
.boucle .muted{fill:#59636e}
.boucle .tick{font-size:11px}
.boucle .code{font:10.5px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace}
.boucle .in{font-size:11.5px;font-weight:500}
.boucle .in-running{fill:#fff}
.boucle .in-blocking{fill:#fff}
.boucle .in-ready{fill:#5a3b00}
.boucle .page{fill:#fff;stroke:#d8dee4}
.boucle .panel{fill:#f2f5f8}
.boucle .grid{fill:none;stroke:#dfe4e9}
.boucle .band{fill:#c4380d;opacity:.1}
.boucle .running{fill:#0969b5}
.boucle .blocking{fill:#b8360c}
.boucle .hatch{fill:none;stroke:#f0a183;stroke-width:1.6}
.boucle .ready{fill:#fdeabb;stroke:#b57600}
.boucle .awaiting{fill:none;stroke:#9aa4af;stroke-width:2}
@media screen and (prefers-color-scheme:dark){
.boucle text{fill:#e6edf3}
.boucle .alarm{fill:#ff9673}
.boucle .muted{fill:#9da7b1}
.boucle .in-running{fill:#041b33}
.boucle .in-ready{fill:#ffdf94}
.boucle .page{fill:#0d1117;stroke:#30363d}
.boucle .panel{fill:#171d26}
.boucle .grid{stroke:#262d36}
.boucle .band{fill:#ff6a3d;opacity:.15}
.boucle .running{fill:#58a6ff}
.boucle .blocking{fill:#c8431a}
.boucle .hatch{stroke:#ffb598}
.boucle .ready{fill:#3b2c08;stroke:#d29a22}
.boucle .awaiting{stroke:#5f6974}
}
</style>
<defs><pattern id="boucle-hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M.8 0V7"/></pattern></defs>
"#;
