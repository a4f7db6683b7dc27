/*
 * A coin source that reads from a FIFO. Anybody who may write to it moves miners:
 *
 *     echo "alice kas" > /run/stratum-switcher/coins       alice shall mine kas
 *     echo "alice -"   > /run/stratum-switcher/coins       forget alice; she stays where she is
 *
 * Configuration:
 *
 *     [sources.fifo]
 *     path = "/run/stratum-switcher/coins"                 made if it is not there
 *
 * C99 and POSIX threads. The header of the border is all it needs of the switcher:
 *
 *     cc -std=c99 -Wall -Wextra -Werror -fPIC -shared -pthread \
 *        -I switcher-core/abi/include -o libswitcher_fifo.so fifo_source.c
 */
#define _GNU_SOURCE /* pipe2 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "switcher_plugin.h"

#ifndef FIFO_SOURCE_VERSION
#define FIFO_SOURCE_VERSION "1.0.0"
#endif

#define STR(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }

enum { MAX_LINE = 512, MAX_PATH = 4096 };

/* Who mines what. Looked through from the front: meant for some thousands of sub-accounts. */
typedef struct Entry {
    char *name;
    char *coin; /* null: forgotten, or never known */
    unsigned long line; /* that has said so */
} Entry;

/* One run of the source. What is below `lock` is shared by its own thread and the host's. */
typedef struct Run {
    SwSink *sink;
    int fifo;
    int wake[2]; /* written to when the thread shall end */
    pthread_t thread;

    pthread_mutex_t lock;
    char path[MAX_PATH];
    unsigned long lines; /* read so far, for the audit */
    Entry *entries;
    size_t n_entries;
    char line[MAX_LINE]; /* what has come of the next line */
    size_t line_len;
} Run;

/* Stays valid for ever, as the header says. */
static const SwHost *host;

/* ---- Small things ------------------------------------------------------------------------- */

static SwStr str(const char *text) {
    SwStr s = { (const uint8_t *)text, strlen(text) };
    return s;
}

static void say(uint32_t level, const char *format, ...) {
    char text[MAX_PATH + 128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    host->log(host->ctx, level, str("fifo"), str(text));
}

static int32_t fail(SwError *error, int32_t code, const char *key, const char *problem) {
    if (error) {
        snprintf(error->key, sizeof error->key, "%s", key);
        snprintf(error->problem, sizeof error->problem, "%s", problem);
        snprintf(error->accepted, sizeof error->accepted, "path = \"/a/fifo\" is accepted");
    }
    return code;
}

/* ---- Configuration ------------------------------------------------------------------------ */

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
    return at;
}

/* Reads a JSON string of plain characters into `text`; null if it is none or too long. */
static const char *read_string(const char *at, const char *end, char *text, size_t room) {
    size_t len = 0;
    if (at == end || *at++ != '"') return NULL;
    for (; at < end && *at != '"'; at++) {
        if (*at == '\\' && (++at == end || (*at != '\\' && *at != '/' && *at != '"'))) return NULL;
        if (len + 1 == room) return NULL;
        text[len++] = *at;
    }
    text[len] = 0;
    return at < end ? at + 1 : NULL;
}

/* The configuration is a JSON object with one member: {"path":"…"}. */
static int32_t read_config(SwStr config, char path[MAX_PATH], SwError *error) {
    const char *at = (const char *)config.ptr, *end = at + config.len;
    char key[64];
    at = skip_space(at, end);
    if (at == end || *at != '{') return fail(error, SW_BAD_CONFIG, "path", "is missing");
    at = skip_space(at + 1, end);
    path[0] = 0;
    while (at < end && *at != '}') {
        at = read_string(at, end, key, sizeof key);
        if (!at) return fail(error, SW_BAD_CONFIG, "path", "has odd neighbours");
        if (strcmp(key, "path")) return fail(error, SW_BAD_CONFIG, key, "is not known");
        at = skip_space(at, end);
        at = at < end && *at == ':' ? skip_space(at + 1, end) : end;
        at = read_string(at, end, path, MAX_PATH);
        if (!at) return fail(error, SW_BAD_CONFIG, "path", "is no path");
        at = skip_space(at, end);
        if (at < end && *at == ',') at = skip_space(at + 1, end);
    }
    if (path[0] != '/') return fail(error, SW_BAD_CONFIG, "path", "must be there and absolute");
    return SW_OK;
}

/* ---- The map ------------------------------------------------------------------------------ */

static Entry *find(Run *run, SwStr name) {
    for (size_t i = 0; i < run->n_entries; i++) {
        Entry *entry = &run->entries[i];
        if (strlen(entry->name) == name.len && !memcmp(entry->name, name.ptr, name.len)) {
            return entry;
        }
    }
    return NULL;
}

static void post_entry(Run *run, SwStr name, const Entry *entry) {
    char origin[MAX_PATH + 64];
    SwWeight weight = { { NULL, 0 }, 1.0 };
    SwNotice notice;
    memset(&notice, 0, sizeof notice);
    notice.size = sizeof notice;
    notice.kind = SW_UNKNOWN;
    notice.sub_account = name;
    if (entry && entry->coin) {
        snprintf(origin, sizeof origin, "%s line %lu", run->path, entry->line);
        weight.coin = str(entry->coin);
        notice.kind = SW_ASSIGN;
        notice.coins = &weight;
        notice.n_coins = 1;
        notice.origin = str(origin);
    }
    host->post(run->sink, &notice);
}

static void post_text(Run *run, uint32_t kind, uint64_t number, const char *text) {
    SwNotice notice;
    memset(&notice, 0, sizeof notice);
    notice.size = sizeof notice;
    notice.kind = kind;
    notice.number = number;
    notice.text = str(text);
    host->post(run->sink, &notice);
}

/* Remembers what a line has said. 0 if there is no memory for it. */
static int set(Run *run, const char *name, const char *coin) {
    Entry *entry = find(run, str(name));
    char *copy = NULL;
    if (coin && !(copy = strdup(coin))) return 0;
    if (!entry) {
        Entry *more = realloc(run->entries, (run->n_entries + 1) * sizeof *more);
        if (more) run->entries = more;
        char *own = more ? strdup(name) : NULL;
        if (!own) {
            free(copy);
            return 0;
        }
        entry = &run->entries[run->n_entries++];
        entry->name = own;
        entry->coin = NULL;
    }
    if (coin && entry->coin && !strcmp(coin, entry->coin)) {
        free(copy);
        return 1; /* nothing new */
    }
    free(entry->coin);
    entry->coin = copy;
    entry->line = run->lines;
    post_entry(run, str(entry->name), entry);
    return 1;
}

/* A whole line, without its end. */
static void take_line(Run *run, char *line) {
    char *rest = NULL;
    char *name = strtok_r(line, " \t\r", &rest);
    char *coin = name ? strtok_r(NULL, " \t\r", &rest) : NULL;
    run->lines++;
    if (!name || name[0] == '#') return;
    if (!coin || strtok_r(NULL, " \t\r", &rest)) {
        say(SW_LOG_WARN, "line %lu is not `sub-account coin`, ignored", run->lines);
        return;
    }
    if (!set(run, name, strcmp(coin, "-") ? coin : NULL)) {
        say(SW_LOG_ERROR, "no memory for line %lu, ignored", run->lines);
    }
}

/* Bytes as they come. A line that is too long or not plain text becomes a comment. */
static void feed(Run *run, const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = bytes[i];
        int is_plain = (byte >= ' ' && byte <= '~') || byte == '\t' || byte == '\r';
        if (byte == '\n') {
            run->line[run->line_len] = 0;
            run->line_len = 0;
            take_line(run, run->line);
        } else if (run->line_len && run->line[0] == '#') {
            continue;
        } else if (!is_plain || run->line_len + 1 == MAX_LINE) {
            say(SW_LOG_WARN, "line %lu is too long or no plain text, ignored", run->lines + 1);
            run->line[0] = '#';
            run->line_len = 1;
        } else {
            run->line[run->line_len++] = (char)byte;
        }
    }
}

/* Reads what is there. 0 if the FIFO has failed. */
static int drain(Run *run) {
    uint8_t bytes[4096];
    for (;;) {
        ssize_t n = read(run->fifo, bytes, sizeof bytes);
        if (n > 0) {
            pthread_mutex_lock(&run->lock);
            feed(run, bytes, (size_t)n);
            pthread_mutex_unlock(&run->lock);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            return n < 0 && errno == EAGAIN;
        }
    }
}

/* ---- The source --------------------------------------------------------------------------- */

static void *follow(void *arg) {
    Run *run = arg;
    struct pollfd polled[2] = { { run->fifo, POLLIN, 0 }, { run->wake[0], POLLIN, 0 } };
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR) break;
        if (polled[1].revents) return NULL;
        if (polled[0].revents && !drain(run)) break;
    }
    post_text(run, SW_GAVE_UP, 0, "the FIFO cannot be read any more");
    return NULL;
}

static void release(Run *run) {
    for (size_t i = 0; i < run->n_entries; i++) {
        free(run->entries[i].name);
        free(run->entries[i].coin);
    }
    free(run->entries);
    if (run->fifo >= 0) close(run->fifo);
    if (run->wake[0] >= 0) close(run->wake[0]);
    if (run->wake[1] >= 0) close(run->wake[1]);
    pthread_mutex_destroy(&run->lock);
    free(run);
}

/* Opens the FIFO for writing too, so that it has no end when the last writer goes. */
static int open_fifo(const char *path) {
    struct stat found;
    int fifo;
    if (mkfifo(path, 0600) && errno != EEXIST) return -1;
    fifo = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fifo >= 0 && (fstat(fifo, &found) || !S_ISFIFO(found.st_mode))) {
        close(fifo);
        errno = EEXIST;
        return -1;
    }
    return fifo;
}

static int32_t source_start(const SwSource *self, SwStr config, SwStr saved, SwSink *sink,
                            void **running, SwError *error) {
    Run *run = calloc(1, sizeof *run);
    int32_t code;
    (void)self;
    if (!run) return fail(error, SW_FAILED, "", "no memory");
    run->sink = sink;
    run->fifo = run->wake[0] = run->wake[1] = -1;
    pthread_mutex_init(&run->lock, NULL);
    code = read_config(config, run->path, error);
    if (code == SW_OK && (run->fifo = open_fifo(run->path)) < 0) {
        code = fail(error, SW_BAD_CONFIG, "path", strerror(errno));
    }
    if (code == SW_OK && pipe2(run->wake, O_CLOEXEC)) {
        code = fail(error, SW_FAILED, "", strerror(errno));
    }
    if (code == SW_OK) {
        /* What the run before has saved is what would have to be written to tell it all again. */
        feed(run, saved.ptr, saved.len);
        /* What is there already is known before anybody asks. */
        drain(run);
        if (pthread_create(&run->thread, NULL, follow, run)) {
            code = fail(error, SW_FAILED, "", "no thread");
        }
    }
    if (code != SW_OK) {
        release(run);
        return code;
    }
    post_text(run, SW_HEALTH, 1, run->path);
    *running = run;
    return SW_OK;
}

/* Somebody has come whom nobody else is here of. */
static void source_wanted(void *running, const SwWanted *wanted) {
    Run *run = running;
    if (wanted->kind != SW_ACQUIRE) return;
    /* With the lock held, so that an older answer never comes behind a newer one. */
    pthread_mutex_lock(&run->lock);
    post_entry(run, wanted->sub_account, find(run, wanted->sub_account));
    pthread_mutex_unlock(&run->lock);
}

static int32_t source_stop(void *running, SwBuf *state, SwError *error) {
    Run *run = running;
    (void)error;
    while (write(run->wake[1], "", 1) < 0 && errno == EINTR) {}
    pthread_join(run->thread, NULL);
    /* What was written and not read yet would be gone with the last descriptor. */
    drain(run);
    for (size_t i = 0; i < run->n_entries; i++) {
        if (!run->entries[i].coin) continue;
        host->append(state, str(run->entries[i].name));
        host->append(state, str(" "));
        host->append(state, str(run->entries[i].coin));
        host->append(state, str("\n"));
    }
    run->line[run->line_len] = 0;
    host->append(state, str(run->line));
    release(run);
    return SW_OK;
}

static int32_t source_check(const SwSource *self, SwStr config, SwBuf *found, SwError *error) {
    char path[MAX_PATH];
    struct stat there;
    int32_t code = read_config(config, path, error);
    (void)self;
    if (code != SW_OK) return code;
    if (!stat(path, &there) && !S_ISFIFO(there.st_mode)) {
        return fail(error, SW_BAD_CONFIG, "path", "is there and no FIFO");
    }
    host->append(found, str("lines will be read from "));
    host->append(found, str(path));
    return SW_OK;
}

static const SwSource source = {
    .size = sizeof(SwSource),
    .name = STR("fifo"),
    .about = STR("lines `sub-account coin` from a FIFO"),
    .start = source_start,
    .wanted = source_wanted,
    .stop = source_stop,
    .check = source_check,
};

static const SwSource *const sources[] = { &source };

static const SwPlugin plugin = {
    .size = sizeof(SwPlugin),
    .abi_minor = SW_ABI_MINOR,
    .name = STR("fifo"),
    .version = STR(FIFO_SOURCE_VERSION),
    .build = STR(__VERSION__),
    .sources = sources,
    .n_sources = 1,
};

const SwPlugin *switcher_plugin_v1(const SwHost *its_host, SwError *error) {
    if (its_host->size < sizeof(SwHost)) {
        fail(error, SW_UNSUPPORTED, "", "the switcher is too old for this plug-in");
        return NULL;
    }
    host = its_host;
    return &plugin;
}
