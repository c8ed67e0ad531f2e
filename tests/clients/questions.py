"""What the clients of these tests ask."""

import base64
from typing import Any

SMALL = "mistral-small-latest"
PLAIN = "ministral-3b-2512"
CODE = "codestral-2508"
EMBED = "mistral-embed"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
HELLO = [{"role": "user", "content": "Say hello in French."}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
