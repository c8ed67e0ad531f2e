/*
 * The answers of the mock upstream in both wire formats: pure text, no I/O.
 *
 * A `struct answer` is one generation: what to send and how far it has come. Mistral's stream is SSE with
 * the usage on the chunk that carries the finish reason, then [DONE]; Ollama's is NDJSON with one line per
 * token and a closing line with "done":true.
 */
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CREATED_AT "2026-01-01T10:00:00.123456789Z"

enum wire { MISTRAL, OLLAMA_CHAT, OLLAMA_GENERATE };

struct buffer {
    char *data;
    size_t len;
    size_t cap;
};

struct answer {
    enum wire wire;
    char model[64];
    int total;
    int sent;
};

static const char *listed_models[] = {"mock-64-0-0", "mock-100-20-50", "mock-10-20-50", "mock-2-60000-1"};
static const char *words[] = {"Bonjour",         " le", " monde", ",",          " voici", " une",
                              " r\xc3\xa9ponse", " de", " mod",   "\xc3\xa8le", "s",      "."};

/* Buffers: always NUL-terminated once something was appended. */

static void reserve(struct buffer *b, size_t extra) {
    if (b->len + extra <= b->cap) {
        return;
    }
    b->cap = (b->len + extra) * 2;
    b->data = realloc(b->data, b->cap);
    if (!b->data) {
        abort();
    }
}

static void append(struct buffer *b, const char *data, size_t len) {
    reserve(b, len + 1);
    memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

__attribute__((format(printf, 2, 3))) static void appendf(struct buffer *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    reserve(b, len + 1);
    va_start(args, format);
    vsnprintf(b->data + b->len, len + 1, format, args);
    va_end(args);
    b->len += len;
}

/* Model lists */

static void mistral_models(struct buffer *b) {
    appendf(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < COUNT(listed_models); i++) {
        appendf(b,
                "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":1760000000,\"owned_by\":\"mistralai\","
                "\"capabilities\":{\"completion_chat\":true,\"completion_fim\":false,"
                "\"function_calling\":true,\"fine_tuning\":false,\"vision\":false},"
                "\"name\":\"%s\",\"description\":\"mock\",\"max_context_length\":32768,"
                "\"aliases\":[],\"type\":\"base\"}",
                i ? "," : "", listed_models[i], listed_models[i]);
    }
    appendf(b, "]}");
}

static void ollama_models(struct buffer *b) {
    appendf(b, "{\"models\":[");
    for (size_t i = 0; i < COUNT(listed_models); i++) {
        appendf(b,
                "%s{\"name\":\"%s\",\"model\":\"%s\",\"modified_at\":\"" CREATED_AT "\",\"size\":1,"
                "\"digest\":\"aa\",\"details\":{\"parent_model\":\"\",\"format\":\"gguf\","
                "\"family\":\"mock\",\"families\":[\"mock\"],\"parameter_size\":\"1B\","
                "\"quantization_level\":\"Q4_0\"}}",
                i ? "," : "", listed_models[i], listed_models[i]);
    }
    appendf(b, "]}");
}

/* Streamed tokens */

static void mistral_token(struct answer *a, struct buffer *b, const char *word) {
    appendf(b,
            "data: {\"id\":\"cmpl-9f2c4b6e8a0d4c1e9b3f\",\"object\":\"chat.completion.chunk\","
            "\"created\":1760000000,\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{%s"
            "\"content\":\"%s\"},\"finish_reason\":",
            a->model, a->sent ? "" : "\"role\":\"assistant\",", word);
    if (a->sent < a->total - 1) {
        appendf(b, "null}]}\n\n");
        return;
    }
    appendf(b,
            "\"stop\"}],\"usage\":{\"prompt_tokens\":42,\"total_tokens\":%d,\"completion_tokens\":%d}}\n\n"
            "data: [DONE]\n\n",
            42 + a->total, a->total);
}

static void ollama_start(struct answer *a, struct buffer *b) {
    appendf(b, "{\"model\":\"%s\",\"created_at\":\"" CREATED_AT "\",%s", a->model,
            a->wire == OLLAMA_CHAT ? "\"message\":{\"role\":\"assistant\",\"content\":\""
                                   : "\"response\":\"");
}

static void ollama_end(struct answer *a, struct buffer *b, int done) {
    appendf(b, a->wire == OLLAMA_CHAT ? "\"},\"done\":" : "\",\"done\":");
    if (!done) {
        appendf(b, "false}");
        return;
    }
    appendf(b,
            "true,\"done_reason\":\"stop\",\"total_duration\":1000000,\"load_duration\":1000,"
            "\"prompt_eval_count\":42,\"prompt_eval_duration\":1000,\"eval_count\":%d,"
            "\"eval_duration\":1000}",
            a->total);
}

static void ollama_token(struct answer *a, struct buffer *b, const char *word) {
    ollama_start(a, b);
    append(b, word, strlen(word));
    ollama_end(a, b, 0);
    appendf(b, "\n");
    if (a->sent == a->total - 1) {
        ollama_start(a, b);
        ollama_end(a, b, 1);
        appendf(b, "\n");
    }
}

/* Appends the next token's event, and what closes the stream after the last one. */
static void next_token(struct answer *a, struct buffer *b) {
    const char *word = words[a->sent % COUNT(words)];
    if (a->wire == MISTRAL) {
        mistral_token(a, b, word);
    } else {
        ollama_token(a, b, word);
    }
    a->sent++;
}

/* Whole answers */

static void all_words(struct answer *a, struct buffer *b) {
    for (int i = 0; i < a->total; i++) {
        const char *word = words[i % COUNT(words)];
        append(b, word, strlen(word));
    }
}

static void whole_answer(struct answer *a, struct buffer *b) {
    if (a->wire != MISTRAL) {
        ollama_start(a, b);
        all_words(a, b);
        ollama_end(a, b, 1);
        return;
    }
    appendf(b,
            "{\"id\":\"cmpl-9f2c\",\"object\":\"chat.completion\",\"created\":1760000000,"
            "\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
            a->model);
    all_words(a, b);
    appendf(b,
            "\",\"tool_calls\":null},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":42,"
            "\"total_tokens\":%d,\"completion_tokens\":%d}}",
            42 + a->total, a->total);
}
