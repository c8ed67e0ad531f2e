/*
 * A closed-loop HTTP/1.1 load generator for streaming servers: one thread, epoll, keep-alive, loopback.
 *
 *   loadgen -p PORT -u PATH -b BODY [-c CONNECTIONS] [-n REQUESTS | -t SECONDS] [-H 'Name: value']...
 *           [-m METHOD] [-P PID]... [-s SECONDS] [-k SECONDS] [-w]
 *
 *   -n  requests in all (default: one per connection)
 *   -t  start requests for this long instead
 *   -P  a process whose CPU time and memory, with its descendants', are read before and after
 *   -s  spread the first request of each connection over this time, so that paced streams do not run in step
 *   -k  stop after this time, closing what is still open; "open" counts answers that had begun by then
 *   -w  open a new connection for every request
 *
 * Prints one JSON object: requests, errors, open, events (newlines in bodies: NDJSON has one per token, SSE
 * two), seconds, rates, milliseconds to the first body byte and to the end, statuses, CPU and memory.
 * Exits with 1 when nothing arrives for STALL_S seconds.
 */
#define _GNU_SOURCE
#include "http_response.h"
#include "process_tree.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define STALL_S 60
#define MAX_ROOTS 32
#define MAX_SAMPLES (1 << 20)
#define MAX_STATUS 600
#define BUFFER_SIZE (64 << 10)

struct conn {
    int fd;
    struct response response;
    double start_s;
    size_t len;
    char buf[BUFFER_SIZE];
};

static struct {
    int port, connections, fresh, pid_count;
    int pids[MAX_ROOTS];
    long requests;
    double seconds, spread_s, keep_s;
    const char *path, *body, *method;
    char headers[8192];
} options = {.port = 8000, .connections = 1, .path = "/"};

static struct {
    long started, done, errors, error_lines, events, bytes, samples;
    double first_byte_s[MAX_SAMPLES];
    double whole_s[MAX_SAMPLES];
    long statuses[MAX_STATUS];
} results;

static int epoll_fd;
static int live; /* connections that have or will have a request */
static double end_s;
static char *request;
static int request_len;
static struct conn *conns;
static struct tree before, after;
static double peak_rss_mb;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Sending */

static void dial(struct conn *c) {
    int one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) {
        perror("loadgen: connect");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

/* Sends the request whole; a failure shows when the answer is read. */
static void begin(struct conn *c) {
    struct pollfd writable = {.fd = c->fd, .events = POLLOUT};
    int sent = 0;
    c->response = (struct response){.state = HEAD};
    c->len = 0;
    c->start_s = now_s();
    results.started++;
    while (sent < request_len) {
        ssize_t n = write(c->fd, request + sent, request_len - sent);
        if (n < 0 && errno != EAGAIN) {
            return;
        }
        if (n < 0) {
            poll(&writable, 1, 1000);
        }
        sent += n > 0 ? n : 0;
    }
}

static int more(void) {
    return options.requests ? results.started < options.requests : now_s() < end_s;
}

/* Receiving */

static void body_bytes(struct response *r, const char *data, size_t len) {
    const char *end = data + len;
    const char *newline = data;
    if (!r->first_s) {
        r->first_s = now_s();
    }
    while ((newline = memchr(newline, '\n', end - newline))) {
        results.events++;
        newline++;
    }
    results.bytes += len;
    results.error_lines += memmem(data, len, "{\"error\"", 8) != NULL;
}

static void record(struct conn *c) {
    double now = now_s();
    results.done++;
    results.errors += c->response.status >= 400;
    if (c->response.status >= 0 && c->response.status < MAX_STATUS) {
        results.statuses[c->response.status]++;
    }
    if (results.samples < MAX_SAMPLES) {
        results.first_byte_s[results.samples] =
            (c->response.first_s ? c->response.first_s : now) - c->start_s;
        results.whole_s[results.samples++] = now - c->start_s;
    }
}

/* Ends one request and starts the next on this connection, on a new one where the old is spent. */
static void finish(struct conn *c, int complete) {
    int spent = !complete || options.fresh || c->response.closing || c->response.state == UNTIL_CLOSE;
    int next = more();
    if (complete) {
        record(c);
    } else {
        results.errors++;
    }
    if (spent || !next) {
        close(c->fd);
    }
    if (!next) {
        c->response.state = WAITING;
        live--;
        return;
    }
    if (spent) {
        dial(c);
    }
    begin(c);
}

static void on_readable(struct conn *c) {
    ssize_t n = read(c->fd, c->buf + c->len, BUFFER_SIZE - c->len);
    if (n > 0) {
        c->len += n;
        size_t used = parse_response(&c->response, c->buf, c->len);
        c->len -= used;
        memmove(c->buf, c->buf + used, c->len);
        if (c->response.state == COMPLETE) {
            finish(c, 1);
        }
    } else if (n == 0 || errno != EAGAIN) {
        finish(c, n == 0 && c->response.state == UNTIL_CLOSE);
    }
}

/* The run */

/* Notes the memory of the processes known at the start, every half second. */
static void sample_memory(double now) {
    static double next_s;
    double rss_mb = 0;
    struct process p;
    if (now < next_s) {
        return;
    }
    next_s = now + 0.5;
    for (int i = 0; i < before.count; i++) {
        rss_mb += read_process(before.list[i].pid, &p) ? p.rss_mb : 0;
    }
    peak_rss_mb = rss_mb > peak_rss_mb ? rss_mb : peak_rss_mb;
}

/* Starts the connections whose turn has come; returns how many have started in all. */
static int start_due(int started, double since_s) {
    while (started < options.connections && since_s * options.connections >= options.spread_s * started) {
        if (more()) {
            dial(&conns[started]);
            begin(&conns[started]);
        } else {
            live--;
        }
        started++;
    }
    return started;
}

static void run(double start) {
    struct epoll_event ready[256];
    int started = 0;
    double heard = start;
    while (live > 0) {
        double now = now_s();
        sample_memory(now);
        started = start_due(started, now - start);
        int starting = started < options.connections;
        int n = epoll_wait(epoll_fd, ready, 256, starting ? 1 : options.keep_s > 0 ? 20 : 1000);
        for (int i = 0; i < n; i++) {
            on_readable(ready[i].data.ptr);
        }
        if (n || starting) {
            heard = now;
        }
        if (options.keep_s > 0 && now - start > options.keep_s) {
            return;
        }
        if (options.keep_s <= 0 && now - heard > STALL_S) {
            fprintf(stderr, "loadgen: stalled with %d requests open\n", live);
            exit(1);
        }
    }
}

static long open_answers(void) {
    long count = 0;
    for (int i = 0; i < options.connections; i++) {
        count += conns[i].response.state != WAITING && conns[i].response.first_s > 0;
    }
    return count;
}

/* The report */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *name, double *seconds) {
    double ms[] = {0, 0, 0};
    const double shares[] = {0.5, 0.9, 0.99};
    qsort(seconds, results.samples, sizeof *seconds, ascending);
    for (int i = 0; i < 3 && results.samples; i++) {
        ms[i] = seconds[(long)(shares[i] * (results.samples - 1))] * 1e3;
    }
    printf(",\"%s\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f}", name, ms[0], ms[1], ms[2]);
}

static void print_processes(void) {
    double cpu_s = tree_cpu_s(&before, &after);
    printf(",\"cpu_source\":\"%s\",\"cpu_s\":%.6f", cpu_source, cpu_s);
    printf(",\"cpu_us_per_event\":%.3f", results.events ? cpu_s * 1e6 / results.events : 0);
    printf(",\"cpu_us_per_req\":%.2f", results.done ? cpu_s * 1e6 / results.done : 0);
    printf(",\"rss_mb\":{\"before\":%.2f,\"peak\":%.2f,\"after\":%.2f}", tree_rss_mb(&before), peak_rss_mb,
           tree_rss_mb(&after));
}

static void print_report(double elapsed) {
    const char *comma = "";
    printf("{\"requests\":%ld,\"errors\":%ld,\"error_lines\":%ld,\"open\":%ld,\"events\":%ld,\"bytes\":%ld",
           results.done, results.errors, results.error_lines, open_answers(), results.events, results.bytes);
    printf(",\"seconds\":%.3f,\"req_s\":%.1f,\"events_s\":%.1f", elapsed, results.done / elapsed,
           results.events / elapsed);
    print_percentiles("ttfb_ms", results.first_byte_s);
    print_percentiles("whole_ms", results.whole_s);
    if (options.pid_count) {
        print_processes();
    }
    printf(",\"status\":{");
    for (int i = 0; i < MAX_STATUS; i++) {
        if (results.statuses[i]) {
            printf("%s\"%d\":%ld", comma, i, results.statuses[i]);
            comma = ",";
        }
    }
    printf("}}\n");
}

/* Setup */

static void add_header(const char *header) {
    size_t used = strlen(options.headers);
    snprintf(options.headers + used, sizeof options.headers - used, "%s\r\n", header);
}

static void read_text_option(int option, const char *value) {
    if (option == 'u') {
        options.path = value;
    } else if (option == 'b') {
        options.body = value;
    } else if (option == 'm') {
        options.method = value;
    } else if (option == 'H') {
        add_header(value);
    } else if (option == 'w') {
        options.fresh = 1;
    } else {
        exit(2);
    }
}

static void read_option(int option, const char *value) {
    double number = value ? atof(value) : 0;
    if (option == 'p') {
        options.port = number;
    } else if (option == 'c') {
        options.connections = number;
    } else if (option == 'n') {
        options.requests = number;
    } else if (option == 't') {
        options.seconds = number;
    } else if (option == 's') {
        options.spread_s = number;
    } else if (option == 'k') {
        options.keep_s = number;
    } else if (option == 'P' && options.pid_count < MAX_ROOTS) {
        options.pids[options.pid_count++] = number;
    } else {
        read_text_option(option, value);
    }
}

static void build_request(void) {
    char entity[128] = "";
    const char *body = options.body ? options.body : "";
    const char *method = options.method ? options.method : options.body ? "POST" : "GET";
    if (options.body) {
        snprintf(entity, sizeof entity, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                 strlen(body));
    }
    request_len = asprintf(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s\r\n%s", method,
                           options.path, options.port, options.headers, entity, body);
}

int main(int argc, char **argv) {
    struct rlimit files = {60000, 60000};
    int option;
    while ((option = getopt(argc, argv, "p:u:b:c:n:t:s:k:H:m:P:w")) > 0) {
        read_option(option, optarg);
    }
    if (!options.requests && options.seconds <= 0) {
        options.requests = options.connections;
    }
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_NOFILE, &files);
    build_request();
    conns = calloc(options.connections, sizeof *conns);
    live = options.connections;
    epoll_fd = epoll_create1(0);
    read_tree(&before, options.pids, options.pid_count);
    double start = now_s();
    end_s = start + options.seconds;
    run(start);
    double elapsed = now_s() - start;
    read_tree(&after, options.pids, options.pid_count);
    sample_memory(start + elapsed + 1);
    print_report(elapsed);
    return 0;
}
