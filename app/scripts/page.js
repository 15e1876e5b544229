// The code of every page, loaded before Gradio starts.
import "./requests.js";
import "./theme.js";
import "./keyboard.js";
import "./kept_form.js";
import "./plotly.js";
import "./models_link.js";
