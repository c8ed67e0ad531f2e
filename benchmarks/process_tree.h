/*
 * CPU time and memory of processes and all their descendants, read from the kernel.
 *
 * CPU time comes from each process's CPU clock (nanoseconds, all threads, also ended ones); where that clock
 * cannot be read, from /proc/PID/stat (clock ticks). `cpu_source` says which was used.
 */
#pragma once
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROCESSES 1024

struct process {
    int pid;
    int parent;
    double cpu_s;
    double rss_mb;
};

struct tree {
    struct process list[MAX_PROCESSES];
    int count;
};

static const char *cpu_source = "process clock";

static double clock_seconds(int pid) {
    clockid_t id;
    struct timespec t;
    if (clock_getcpuclockid(pid, &id) || clock_gettime(id, &t)) {
        return -1;
    }
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Reads one process; returns 0 when it is gone. */
static int read_process(int pid, struct process *p) {
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    char *fields = strrchr(text, ')'); /* the name before it may hold spaces */
    if (!fields) {
        return 0;
    }
    sscanf(fields + 2,
           "%*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
           &p->parent, &user, &system, &pages);
    p->pid = pid;
    p->rss_mb = pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
    p->cpu_s = clock_seconds(pid);
    if (p->cpu_s < 0) {
        p->cpu_s = (user + system) / (double)sysconf(_SC_CLK_TCK);
        cpu_source = "clock ticks";
    }
    return 1;
}

static struct process *find_process(struct tree *t, int pid) {
    for (int i = 0; i < t->count; i++) {
        if (t->list[i].pid == pid) {
            return &t->list[i];
        }
    }
    return NULL;
}

/* One pass over /proc that adds the children of what is in the tree; returns how many it added. */
static int add_children(struct tree *t) {
    int before = t->count;
    struct dirent *entry;
    DIR *proc = opendir("/proc");
    while (proc && (entry = readdir(proc)) && t->count < MAX_PROCESSES) {
        struct process p;
        int pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (pid && !find_process(t, pid) && read_process(pid, &p) && find_process(t, p.parent)) {
            t->list[t->count++] = p;
        }
    }
    if (proc) {
        closedir(proc);
    }
    return t->count - before;
}

static void read_tree(struct tree *t, const int *roots, int count) {
    t->count = 0;
    for (int i = 0; i < count; i++) {
        t->count += read_process(roots[i], &t->list[t->count]);
    }
    while (count && add_children(t) > 0) {
    }
}

static double tree_rss_mb(const struct tree *t) {
    double sum = 0;
    for (int i = 0; i < t->count; i++) {
        sum += t->list[i].rss_mb;
    }
    return sum;
}

/* CPU seconds spent between two readings; a process that is new in the second counts whole. */
static double tree_cpu_s(struct tree *before, const struct tree *after) {
    double sum = 0;
    for (int i = 0; i < after->count; i++) {
        const struct process *start = find_process(before, after->list[i].pid);
        sum += after->list[i].cpu_s - (start ? start->cpu_s : 0);
    }
    return sum;
}
