/*
 * What holds for every coin source, whatever it is written in and wherever it asks. Loads a plug-in
 * as the switcher does and checks it; says what is wrong and ends with 1, or ends with 0.
 *
 *     conform_source LIBRARY CONFIG SUB-ACCOUNT…
 *
 * CONFIG is the source's table as a JSON object. Of the sub-accounts it is only asked that the source
 * has the same to say of each after it was stopped and started with what it has saved.
 *
 * - Starts; says how it is; stops within 300 ms; starts again from what it has saved.
 * - Answers every acquired name, known or not, and hundreds of strangers.
 * - What it posts makes sense, and nothing comes once `stop` has returned.
 * - Leaves no thread and no descriptor behind, and none of its descriptors lives through an exec: in
 *   an upgrade the process becomes another program.
 * - Survives a configuration that makes no sense.
 *
 *     cc -std=c99 -pthread -I switcher-core/abi/include -o conform_source conform_source.c -ldl
 *
 * An answer may take PATIENCE_S seconds (-DPATIENCE_S=30 if yours asks somebody far away). Under a
 * checker of memory set SLOW=1 in the environment: then stopping may take ten times as long.
 */
#define _GNU_SOURCE

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "switcher_plugin.h"

#ifndef PATIENCE_S
#define PATIENCE_S 5
#endif

enum { MANY = 500, STOP_MS = 300, MAX_TEXT = 4096 };

static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("FAILED: ");
    vprintf(format, args);
    printf("\n");
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static SwStr str(const char *text) {
    SwStr s = { (const uint8_t *)text, strlen(text) };
    return s;
}

/* ---- What the host offers ----------------------------------------------------------------- */

/* Where posts go; handed out as the sink. */
typedef struct Board {
    pthread_mutex_t lock;
    pthread_cond_t news;
    const char *name; /* whose answer is awaited */
    char answer[MAX_TEXT];
    int answers, healths, is_stopped, gave_up;
} Board;

struct SwBuf {
    char bytes[1 << 20];
    size_t len;
};

static void host_log(void *ctx, uint32_t level, SwStr target, SwStr message) {
    static const char *const levels[] = { "?", "error", "warn", "info", "debug", "trace" };
    (void)ctx;
    printf("log %s %.*s: %.*s\n", levels[level < 6 ? level : 0], (int)target.len, target.ptr,
           (int)message.len, message.ptr);
}

static uint32_t host_log_enabled(void *ctx, uint32_t level) {
    (void)ctx;
    return level <= SW_LOG_INFO;
}

static void host_append(SwBuf *buf, SwStr bytes) {
    if (buf->len + bytes.len > sizeof buf->bytes) fail("saves more than %zu bytes", sizeof buf->bytes);
    memcpy(buf->bytes + buf->len, bytes.ptr, bytes.len);
    buf->len += bytes.len;
}

static int32_t host_send(SwOut *out, SwSide to, SwStr bytes) {
    (void)out, (void)to, (void)bytes;
    return SW_FAILED;
}

static int32_t host_push(SwOut *out, const SwAction *action) {
    (void)out, (void)action;
    return SW_FAILED;
}

static void host_field(SwFields *fields, SwStr name, SwStr value) {
    (void)fields, (void)name, (void)value;
}

/* An answer in words, so that two can be compared. */
static void describe(const SwNotice *notice, char text[MAX_TEXT]) {
    if (notice->kind == SW_ASSIGN || notice->kind == SW_DEFAULT) {
        const SwWeight *first = notice->coins;
        if (notice->n_coins == 0 || !first || first->coin.len == 0 || !(first->weight > 0)) {
            fail("an assignment without a coin, or without weight");
        }
        snprintf(text, MAX_TEXT, "%s %.*s", notice->kind == SW_ASSIGN ? "assign" : "default",
                 (int)first->coin.len, first->coin.ptr);
    } else {
        snprintf(text, MAX_TEXT, "%s", notice->kind == SW_UNKNOWN ? "unknown" : "registering");
    }
}

static int32_t host_post(SwSink *sink, const SwNotice *notice) {
    Board *board = (Board *)sink;
    if (notice->size < sizeof *notice) fail("a notice of %u bytes", notice->size);
    pthread_mutex_lock(&board->lock);
    if (board->is_stopped) fail("posts although `stop` has returned");
    switch (notice->kind) {
    case SW_HEALTH:
        board->healths++;
        break;
    case SW_GAVE_UP:
        printf("gave up: %.*s\n", (int)notice->text.len, notice->text.ptr);
        board->gave_up = 1;
        break;
    case SW_SERVER_ID:
        if (notice->number < 1 || notice->number > 255) fail("a server id out of 1 to 255");
        break;
    case SW_ASSIGN:
    case SW_DEFAULT:
    case SW_UNKNOWN:
    case SW_REGISTERING:
    case SW_REGISTRATION_REFUSED:
    case SW_RENAMED:
        if (!notice->sub_account.ptr || notice->sub_account.len == 0) fail("a notice about nobody");
        if (notice->kind < SW_HEALTH || notice->kind == SW_UNKNOWN || notice->kind == SW_REGISTERING) {
            char text[MAX_TEXT];
            describe(notice, text);
            if (board->name && strlen(board->name) == notice->sub_account.len &&
                !memcmp(board->name, notice->sub_account.ptr, notice->sub_account.len)) {
                strcpy(board->answer, text);
                board->answers++;
            }
        }
        break;
    default:
        fail("a notice of the kind %u, which there is not", notice->kind);
    }
    pthread_cond_broadcast(&board->news);
    pthread_mutex_unlock(&board->lock);
    return SW_OK;
}

static const SwHost host = {
    .size = sizeof host,
    .abi_minor = SW_ABI_MINOR,
    .version = { (const uint8_t *)"conform_source", 14 },
    .log = host_log,
    .log_enabled = host_log_enabled,
    .now = now,
    .append = host_append,
    .send = host_send,
    .push = host_push,
    .field = host_field,
    .post = host_post,
};

/* ---- Runs --------------------------------------------------------------------------------- */

static int count(const char *folder) {
    DIR *dir = opendir(folder);
    int n = 0;
    while (dir && readdir(dir)) n++;
    if (dir) closedir(dir);
    return n;
}

static void check_descriptors(void) {
    int fd;
    for (fd = 3; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC)) {
            fail("descriptor %d would live through an upgrade; open it with O_CLOEXEC", fd);
        }
    }
}

/* Inherited descriptors are none of the source's; they shall not be taken for its own. */
static void hide_descriptors(void) {
    int fd;
    for (fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static Board *new_board(void) {
    /* Each used once and never freed: the header says that a sink stays. */
    static Board boards[32];
    static size_t used;
    Board *board = &boards[used++];
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&board->lock, NULL);
    pthread_cond_init(&board->news, &monotonic);
    return board;
}

/* Acquires a name and waits for the answer, which is left in board->answer. */
static void ask(const SwSource *source, void *running, Board *board, const char *name) {
    SwWanted wanted = { sizeof wanted, SW_ACQUIRE, str(name), str(name), 1 };
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&board->lock);
    board->name = name;
    board->answers = 0;
    pthread_mutex_unlock(&board->lock);
    source->wanted(running, &wanted);
    pthread_mutex_lock(&board->lock);
    while (!board->answers) {
        if (pthread_cond_timedwait(&board->news, &board->lock, &end)) {
            fail("has no answer for %s within %d s", name, PATIENCE_S);
        }
    }
    pthread_mutex_unlock(&board->lock);
}

static void leave(const SwSource *source, void *running, const char *name) {
    SwWanted wanted = { sizeof wanted, SW_RELEASE, str(name), str(""), 0 };
    source->wanted(running, &wanted);
}

static void *begin(const SwSource *source, const char *config, SwStr saved, Board *board) {
    SwError error = { .size = sizeof error };
    void *running = NULL;
    int32_t code = source->start(source, str(config), saved, (SwSink *)board, &running, &error);
    if (code != SW_OK) fail("does not start: %d %s: %s", code, error.key, error.problem);
    return running;
}

static void end(const SwSource *source, void *running, Board *board, SwBuf *saved) {
    SwError error = { .size = sizeof error };
    uint64_t begun = now();
    int32_t code;
    saved->len = 0;
    code = source->stop(running, saved, &error);
    if (code != SW_OK) fail("does not stop: %d %s", code, error.problem);
    /* Ten times as much for whoever runs under a checker of memory. */
    if (now() - begun > STOP_MS * (getenv("SLOW") ? 10 : 1)) {
        fail("takes %d ms to stop; an upgrade waits for that", (int)(now() - begun));
    }
    pthread_mutex_lock(&board->lock);
    board->is_stopped = 1;
    if (board->gave_up) fail("gave up");
    if (!board->healths) fail("never said how it is (SW_HEALTH)");
    pthread_mutex_unlock(&board->lock);
}

static void check(const SwSource *source, const char *config, int n, char **names) {
    static SwBuf saved, again, found;
    static char answers[16][MAX_TEXT];
    SwError error = { .size = sizeof error };
    Board *board = new_board();
    int threads = count("/proc/self/task"), descriptors, i;
    void *running;

    if (source->size < sizeof *source || source->name.len == 0) fail("its table is incomplete");
    if (!source->start || !source->stop) fail("start and stop must be there");
    hide_descriptors();
    descriptors = count("/proc/self/fd");
    if (source->check) {
        int32_t code = source->check(source, str(config), &found, &error);
        if (code != SW_OK) fail("refuses the configuration: %s %s", error.key, error.problem);
        printf("check: %.*s\n", (int)found.len, found.bytes);
    }

    running = begin(source, config, str(""), board);
    if (source->wanted) {
        char name[32];
        for (i = 0; i < n; i++) {
            ask(source, running, board, names[i]);
            strcpy(answers[i], board->answer);
            printf("%s: %s\n", names[i], answers[i]);
        }
        for (i = 0; i < MANY; i++) {
            snprintf(name, sizeof name, "stranger%d", i);
            ask(source, running, board, name);
            leave(source, running, name);
        }
    }
    check_descriptors();
    end(source, running, board, &saved);
    printf("saves %zu bytes\n", saved.len);

    board = new_board();
    running = begin(source, config, (SwStr){ (uint8_t *)saved.bytes, saved.len }, board);
    for (i = 0; source->wanted && i < n; i++) {
        ask(source, running, board, names[i]);
        if (strcmp(board->answer, answers[i])) {
            fail("says `%s` of %s, and `%s` once it was stopped and started again", answers[i],
                 names[i], board->answer);
        }
    }
    end(source, running, board, &again);

    for (i = 0; i < 20; i++) {
        board = new_board();
        end(source, begin(source, config, str(""), board), board, &again);
    }
    for (i = 0; i < 4; i++) {
        static const char *const odd[] = { "{}", "null", "{\"no such key\":[1,{}]}", "{\"" };
        board = new_board();
        running = NULL;
        if (source->start(source, str(odd[i]), str("\"odd"), (SwSink *)board, &running, &error) == SW_OK) {
            end(source, running, board, &again);
        }
    }
    /* What has been joined may take a moment to be gone. */
    for (i = 0; i < 100 && count("/proc/self/task") != threads; i++) usleep(10000);
    if (count("/proc/self/task") != threads) fail("leaves threads behind");
    if (count("/proc/self/fd") != descriptors) fail("leaves descriptors behind");
}

int main(int argc, char **argv) {
    const SwPlugin *(*enter)(const SwHost *, SwError *);
    SwError error = { .size = sizeof error };
    const SwPlugin *plugin;
    void *library;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3 || argc > 3 + 16) fail("usage: %s LIBRARY CONFIG SUB-ACCOUNT… (16 at most)", argv[0]);
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) fail("%s", dlerror());
    *(void **)&enter = dlsym(library, "switcher_plugin_v1");
    if (!enter) fail("does not export switcher_plugin_v1");
    plugin = enter(&host, &error);
    if (!plugin) fail("refuses to be loaded: %s", error.problem);
    if (plugin->size < sizeof *plugin) fail("is older than this header");
    if (plugin->n_sources != 1) fail("has %d coin sources, and not one", (int)plugin->n_sources);
    printf("%.*s %.*s, source %.*s\n", (int)plugin->name.len, plugin->name.ptr,
           (int)plugin->version.len, plugin->version.ptr, (int)plugin->sources[0]->name.len,
           plugin->sources[0]->name.ptr);
    check(plugin->sources[0], argv[2], argc - 3, argv + 3);
    printf("conforms\n");
    return 0;
}
