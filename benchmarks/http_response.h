/*
 * An incremental HTTP/1.1 response parser: no I/O, bodies by length, by chunks or until the server closes.
 *
 * Call `parse_response` with what has arrived so far; it hands body bytes to `body_bytes`, which the
 * including file defines, and returns how much it consumed. State COMPLETE means that the answer is whole.
 */
#pragma once
#include <stdlib.h>
#include <string.h>

enum state { WAITING, HEAD, SIZED, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, COMPLETE };

struct response {
    enum state state;
    int status;
    int closing;    /* the server said "Connection: close" */
    long remain;    /* bytes left of the body or chunk */
    double first_s; /* when the first body byte came, 0 before */
};

static void body_bytes(struct response *r, const char *data, size_t len);

static size_t parse_head(struct response *r, char *data, size_t len) {
    char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end) {
        return 0;
    }
    *end = '\0';
    char *length = strcasestr(data, "\ncontent-length:");
    r->status = len > 12 ? atoi(data + 9) : 0;
    r->closing = strcasestr(data, "\nconnection: close") != NULL;
    r->remain = length ? atol(length + 16) : 0;
    if (strcasestr(data, "\ntransfer-encoding: chunked")) {
        r->state = CHUNK_SIZE;
    } else if (length || r->status == 204 || r->status == 304) {
        r->state = r->remain ? SIZED : COMPLETE;
    } else {
        r->state = UNTIL_CLOSE;
    }
    return end + 4 - data;
}

static size_t parse_body(struct response *r, char *data, size_t len) {
    size_t take = r->state != UNTIL_CLOSE && len > (size_t)r->remain ? (size_t)r->remain : len;
    if (!take) {
        return 0;
    }
    body_bytes(r, data, take);
    r->remain -= take;
    if (r->state != UNTIL_CLOSE && r->remain == 0) {
        r->state = r->state == SIZED ? COMPLETE : CHUNK_END;
    }
    return take;
}

static size_t parse_line(struct response *r, char *data, size_t len) {
    char *end = memmem(data, len, "\r\n", 2);
    if (!end) {
        return 0;
    }
    if (r->state == CHUNK_SIZE) {
        r->remain = strtol(data, NULL, 16);
        r->state = r->remain ? CHUNK : TRAILER;
    } else if (r->state == CHUNK_END) {
        r->state = CHUNK_SIZE;
    } else if (end == data) {
        r->state = COMPLETE;
    }
    return end + 2 - data;
}

static size_t parse_response(struct response *r, char *data, size_t len) {
    size_t used = 0, step = 1;
    while (step && r->state != COMPLETE) {
        if (r->state == HEAD) {
            step = parse_head(r, data + used, len - used);
        } else if (r->state == SIZED || r->state == UNTIL_CLOSE || r->state == CHUNK) {
            step = parse_body(r, data + used, len - used);
        } else {
            step = parse_line(r, data + used, len - used);
        }
        used += step;
    }
    return used;
}
