/*
 * A fast, paced mock of an LLM upstream: one thread, epoll, a 1 ms tick, loopback only.
 *
 *   mock_upstream [PORT]            default 9100
 *
 * It speaks two wire formats, chosen by path:
 *   POST .../completions            Mistral/OpenAI: SSE when the body says "stream":true, else JSON
 *   POST /api/chat, /api/generate   Ollama: NDJSON unless the body says "stream":false
 *   POST /api/show                  a minimal model card
 *   GET  /v1/models, /api/tags      the models in `listed_models` (mock_wire.h)
 *   GET  /api/version, /api/ps, /   small fixed answers
 *   GET  /stats                     {"requests", "aborted", "active"}: aborted = client left mid-answer
 *   GET  /last                      the last POST body, as received
 *
 * The model name says how it behaves: mock-N-D-T streams N tokens, one every D ms, the first
 * after T ms. D = 0 sends all tokens at once. An answer that is not streamed comes whole after
 * T ms. Any other name behaves like mock-64-0-0. Bodies are searched, not parsed: the first
 * "mock-" and the first "stream" key count.
 */
#define _GNU_SOURCE
#include "mock_wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 60000
#define MAX_REQUEST (64u << 20)
#define MAX_TOKENS 100000

enum phase { IDLE, STREAMING, DELAYED };

struct conn {
    int fd;
    int slot; /* index in `active` while the phase is not IDLE */
    enum phase phase;
    struct buffer in;
    struct buffer out;
    size_t written; /* bytes of `out` already sent */
    struct answer answer;
    double delay_ms;
    double next_ms;
};

static int epoll_fd;
static struct conn *active[MAX_CONNECTIONS];
static int active_count;
static unsigned long requests;
static unsigned long aborted;
static struct buffer last_body;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Connections */

static void activate(struct conn *c, enum phase phase, double first_ms) {
    c->phase = phase;
    c->next_ms = now_ms() + first_ms;
    c->slot = active_count;
    active[active_count++] = c;
}

static void deactivate(struct conn *c) {
    struct conn *moved = active[--active_count];
    active[c->slot] = moved;
    moved->slot = c->slot;
    c->phase = IDLE;
}

static void drop(struct conn *c) {
    if (c->phase != IDLE) {
        aborted++;
        deactivate(c);
    }
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

static void watch(struct conn *c, int op, unsigned events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epoll_fd, op, c->fd, &e);
}

/* Sends what is queued; returns 0 when the connection was dropped. */
static int flush_out(struct conn *c) {
    while (c->written < c->out.len) {
        ssize_t n = write(c->fd, c->out.data + c->written, c->out.len - c->written);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return 1;
        }
        if (n < 0) {
            drop(c);
            return 0;
        }
        c->written += n;
    }
    c->written = c->out.len = 0;
    return 1;
}

/* Answers */

static void send_json(struct conn *c, const char *status, const char *body, size_t len) {
    appendf(&c->out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status,
            len);
    append(&c->out, body, len);
}

static void send_fixed(struct conn *c, const char *body) {
    send_json(c, "200 OK", body, strlen(body));
}

static void send_list(struct conn *c, void (*fill)(struct buffer *)) {
    struct buffer body = {0};
    fill(&body);
    send_json(c, "200 OK", body.data, body.len);
    free(body.data);
}

static void send_whole(struct conn *c) {
    struct buffer body = {0};
    whole_answer(&c->answer, &body);
    send_json(c, "200 OK", body.data, body.len);
    free(body.data);
}

static void send_token(struct conn *c) {
    static struct buffer event;
    event.len = 0;
    next_token(&c->answer, &event);
    appendf(&c->out, "%zx\r\n", event.len);
    append(&c->out, event.data, event.len);
    appendf(&c->out, c->answer.sent == c->answer.total ? "\r\n0\r\n\r\n" : "\r\n");
}

static void start_stream(struct conn *c, double first_ms) {
    int sse = c->answer.wire == MISTRAL;
    appendf(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n",
            sse ? "text/event-stream; charset=utf-8" : "application/x-ndjson");
    if (c->delay_ms > 0 || first_ms > 0) {
        activate(c, STREAMING, first_ms);
        return;
    }
    while (c->answer.sent < c->answer.total) {
        send_token(c);
    }
}

/* Requests */

static int wants_stream(const char *body, enum wire wire) {
    const char *key = strstr(body, "\"stream\"");
    if (!key) {
        return wire != MISTRAL;
    }
    key += strlen("\"stream\"");
    key += strspn(key, " :");
    return strncmp(key, "true", 4) == 0;
}

static void generate(struct conn *c, const char *body, enum wire wire) {
    int total, delay, first;
    const char *name = strstr(body, "mock-");
    if (!name || sscanf(name, "mock-%6d-%6d-%6d", &total, &delay, &first) != 3) {
        total = 64;
        delay = first = 0;
    }
    total = total < 1 ? 1 : total > MAX_TOKENS ? MAX_TOKENS : total;
    c->answer = (struct answer){.wire = wire, .total = total};
    snprintf(c->answer.model, sizeof c->answer.model, "mock-%d-%d-%d", total, delay, first);
    c->delay_ms = delay;
    if (wants_stream(body, wire)) {
        start_stream(c, first);
    } else if (first > 0) {
        activate(c, DELAYED, first);
    } else {
        send_whole(c);
    }
}

static void answer_get(struct conn *c, const char *path) {
    char stats[128];
    if (strcmp(path, "/v1/models") == 0) {
        send_list(c, mistral_models);
    } else if (strcmp(path, "/api/tags") == 0) {
        send_list(c, ollama_models);
    } else if (strcmp(path, "/api/version") == 0) {
        send_fixed(c, "{\"version\":\"0.30.0\"}");
    } else if (strcmp(path, "/api/ps") == 0) {
        send_fixed(c, "{\"models\":[]}");
    } else if (strcmp(path, "/stats") == 0) {
        snprintf(stats, sizeof stats, "{\"requests\":%lu,\"aborted\":%lu,\"active\":%d}", requests, aborted,
                 active_count);
        send_fixed(c, stats);
    } else if (strcmp(path, "/last") == 0) {
        send_json(c, "200 OK", last_body.data, last_body.len);
    } else {
        send_fixed(c, "{\"status\":\"ok\"}");
    }
}

static void answer_post(struct conn *c, const char *path, const char *body, size_t len) {
    const char *tail = strrchr(path, '/');
    last_body.len = 0;
    append(&last_body, body, len);
    if (strcmp(path, "/api/chat") == 0) {
        generate(c, body, OLLAMA_CHAT);
    } else if (strcmp(path, "/api/generate") == 0) {
        generate(c, body, OLLAMA_GENERATE);
    } else if (strcmp(path, "/api/show") == 0) {
        send_fixed(c, "{\"details\":{},\"model_info\":{},\"capabilities\":[\"completion\"]}");
    } else if (tail && strcmp(tail, "/completions") == 0) {
        generate(c, body, MISTRAL);
    } else {
        const char *error = "{\"error\":\"not found\"}";
        send_json(c, "404 Not Found", error, strlen(error));
    }
}

/* Length of the first whole request in `in`, or 0 while it is incomplete; `body` is its offset. */
static size_t request_length(struct buffer *in, size_t *body) {
    char *end = in->len ? strstr(in->data, "\r\n\r\n") : NULL;
    if (!end) {
        return 0;
    }
    *body = end + 4 - in->data;
    char *field = strcasestr(in->data, "\ncontent-length:");
    size_t length = field && field < end ? strtoul(field + 16, NULL, 10) : 0;
    field = strcasestr(in->data, "\ntransfer-encoding:");
    if (field && field < end) {
        char *stop = memmem(in->data + *body, in->len - *body, "0\r\n\r\n", 5);
        return stop ? (size_t)(stop + 5 - in->data) : 0;
    }
    return in->len >= *body + length ? *body + length : 0;
}

/* Answers the requests that are complete; returns 0 when the connection was dropped. */
static int serve(struct conn *c) {
    size_t body = 0, length;
    while (c->phase == IDLE && (length = request_length(&c->in, &body)) > 0) {
        char method[8] = "", path[256] = "";
        char kept = c->in.data[length];
        c->in.data[length] = '\0';
        requests++;
        sscanf(c->in.data, "%7s %255[^ ?]", method, path);
        if (strcmp(method, "POST") == 0) {
            answer_post(c, path, c->in.data + body, length - body);
        } else {
            answer_get(c, path);
        }
        c->in.data[length] = kept;
        c->in.len -= length;
        memmove(c->in.data, c->in.data + length, c->in.len + 1);
    }
    return flush_out(c);
}

/* Reads what has arrived; returns 0 when the connection was dropped. */
static int receive(struct conn *c) {
    ssize_t n;
    do {
        reserve(&c->in, 8192);
        n = read(c->fd, c->in.data + c->in.len, c->in.cap - c->in.len - 1);
        c->in.len += n > 0 ? n : 0;
        c->in.data[c->in.len] = '\0';
    } while (n > 0 && c->in.len < MAX_REQUEST);
    if (n < 0 && errno == EAGAIN) {
        return 1;
    }
    drop(c);
    return 0;
}

/* The event loop */

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void on_event(struct conn *c, unsigned events) {
    if (events & EPOLLOUT) {
        if (!flush_out(c)) {
            return;
        }
        if (c->out.len == 0) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
        }
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && receive(c)) {
        serve(c);
    }
}

static void advance(struct conn *c, double now) {
    if (c->phase == DELAYED) {
        deactivate(c);
        send_whole(c);
    } else {
        do {
            send_token(c);
            c->next_ms += c->delay_ms;
        } while (c->next_ms <= now && c->answer.sent < c->answer.total);
        if (c->answer.sent == c->answer.total) {
            deactivate(c);
        }
    }
    serve(c);
}

/* Backwards, as `deactivate` moves the last entry into the freed slot. */
static void tick(void) {
    double now = now_ms();
    for (int i = active_count - 1; i >= 0; i--) {
        if (i < active_count && active[i]->next_ms <= now) {
            advance(active[i], now);
        }
    }
}

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) {
        perror("mock_upstream: listen");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv) {
    struct rlimit files = {MAX_CONNECTIONS, MAX_CONNECTIONS};
    struct epoll_event ready[512], e = {.events = EPOLLIN, .data.ptr = NULL};
    append(&last_body, "", 0);
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = listen_on(argc > 1 ? atoi(argv[1]) : 9100);
    epoll_fd = epoll_create1(0);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(epoll_fd, ready, COUNT(ready), active_count ? 1 : 1000);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.ptr) {
                on_event(ready[i].data.ptr, ready[i].events);
            } else {
                accept_all(listener);
            }
        }
        tick();
    }
}
