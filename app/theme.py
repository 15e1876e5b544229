"""Theme of the page: neutral greys with one amber accent, and system fonts only."""

import gradio as gr
from gradio.themes.utils import colors, sizes

GREYS = colors.Color(
    c50="#fafaf9",
    c100="#f4f4f2",
    c200="#e6e5e2",
    c300="#d3d2ce",
    c400="#a3a29e",
    c500="#767571",
    c600="#5b5a57",
    c700="#403f3d",
    c800="#2a2a29",
    c900="#1d1d1d",
    c950="#141414",
    name="desk",
)
AMBER = colors.Color(
    c50="#fdf6ea",
    c100="#fae8c8",
    c200="#f4d193",
    c300="#edb75c",
    c400="#e6a13a",
    c500="#cf8420",
    c600="#9b590d",
    c700="#80470b",
    c800="#6d3d0d",
    c900="#4d2b0a",
    c950="#2c1805",
    name="tungsten",
)
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Liberation Sans", "Arial", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "Liberation Mono", "monospace")


def page_theme() -> gr.themes.Base:
    """Return the theme. Text has a contrast of at least 4.5:1 to its background, light and dark."""
    theme = gr.themes.Base(
        primary_hue=AMBER,
        secondary_hue=AMBER,
        neutral_hue=GREYS,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_sm,
        text_size=sizes.text_md,
        font=SANS,
        font_mono=MONO,
    )
    theme.name = "dailies"
    dark = {f"{name}_dark": colour for name, (_, colour) in _COLOURS.items()}
    return theme.set(**{name: colour for name, (colour, _) in _COLOURS.items()}, **dark, **_VALUES)


_COLOURS = {  # light and dark
    "body_background_fill": ("*neutral_100", "*neutral_950"),
    "body_text_color": ("*neutral_900", "#e9e8e5"),
    "body_text_color_subdued": ("*neutral_600", "#a8a7a3"),
    "background_fill_primary": ("white", "*neutral_900"),
    "background_fill_secondary": ("*neutral_100", "*neutral_800"),
    "border_color_primary": ("*neutral_200", "#343433"),
    "border_color_accent": ("*primary_600", "*primary_400"),
    "color_accent_soft": ("*primary_50", "#33291a"),
    "link_text_color": ("*primary_700", "*primary_300"),
    "block_background_fill": ("white", "*neutral_900"),
    "block_label_background_fill": ("transparent", "transparent"),
    "block_title_text_color": ("*neutral_700", "#c9c8c4"),
    "block_info_text_color": ("*neutral_600", "#a8a7a3"),
    "panel_background_fill": ("white", "*neutral_900"),
    "panel_border_color": ("*neutral_200", "#343433"),
    "input_background_fill": ("white", "#161616"),
    "input_border_color": ("*neutral_300", "#3d3d3b"),
    "input_border_color_focus": ("*primary_600", "*primary_400"),
    "input_placeholder_color": ("*neutral_500", "#7d7c78"),
    "slider_color": ("*primary_600", "*primary_400"),
    "checkbox_background_color_selected": ("*primary_600", "*primary_500"),
    "checkbox_border_color": ("*neutral_400", "*neutral_500"),
    "checkbox_label_background_fill": ("transparent", "transparent"),
    "checkbox_label_background_fill_hover": ("transparent", "transparent"),
    "button_primary_background_fill": ("*primary_600", "*primary_400"),
    "button_primary_background_fill_hover": ("*primary_700", "*primary_300"),
    "button_primary_border_color": ("*primary_600", "*primary_400"),
    "button_primary_text_color": ("white", "#1b1103"),
    "button_secondary_background_fill": ("white", "*neutral_800"),
    "button_secondary_background_fill_hover": ("*neutral_100", "#353534"),
    "button_secondary_border_color": ("*neutral_300", "#3d3d3b"),
    "button_secondary_text_color": ("*neutral_800", "#e9e8e5"),
}
_VALUES = {  # of both
    "color_accent": "*primary_600",
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_title_text_weight": "500",
    "block_title_text_size": "*text_sm",
    "block_padding": "0px",
    "block_radius": "6px",
    "panel_border_width": "1px",
    "layout_gap": "14px",
    "form_gap_width": "0px",
    "input_border_width": "1px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 3px rgb(207 132 32 / 0.18)",
    "input_radius": "5px",
    "input_padding": "8px 10px",
    "checkbox_border_color_selected": "*primary_600",
    "checkbox_label_padding": "0px",
    "checkbox_label_border_width": "0px",
    "button_border_width": "1px",
    "button_large_radius": "5px",
    "button_medium_radius": "5px",
    "button_small_radius": "5px",
    "button_large_text_weight": "600",
    "button_large_text_size": "*text_md",
    "button_medium_text_weight": "500",
    "button_small_text_weight": "500",
}
