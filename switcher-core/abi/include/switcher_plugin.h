/*
 * Plug-ins for Stratum Switcher: the border between the program and a shared library that brings
 * dialects (ways of speaking Stratum) or coin sources (who mines what). C99, C++11.
 *
 * A plug-in is a file lib<anything>.so with ONE exported function:
 *
 *     const SwPlugin *switcher_plugin_v1(const SwHost *host, SwError *error);
 *
 * The 1 is the major version of this border and is frozen: what is written here stays true as long
 * as the symbol has that name. Minor versions only add members at the end of structs and new values
 * of `kind`.
 *
 * RULES
 *
 * Trust.     A plug-in is part of the program. It can read and break everything; a crash ends the
 *            program. What the host does against mistakes is for mistakes only.
 * Sizes.     Every struct that may grow begins with its `size` in bytes as its maker knows it. The
 *            reader uses only what lies within that size; what is missing counts as zero. Structs
 *            that may grow are never in arrays; arrays hold pointers to them.
 * Newer      A plug-in ignores inputs and wishes of a kind it does not know (returns SW_OK). A host
 * kinds.     that gets an action or notice of a kind it does not know takes it for a failure of the
 *            plug-in: look at SwHost.abi_minor before using what a minor version has added.
 * Memory.    Nobody ever frees the other side's memory. What is passed as an argument is lent for
 *            the call, in both directions. What SwPlugin points to stays for the life of the process.
 *            Results of unknown length are written with SwHost.append, errors into the caller's
 *            SwError. A plug-in is never unloaded; a new version arrives with a hot upgrade, in
 *            which the process becomes another program and loads its plug-ins afresh.
 * Text.      UTF-8, not terminated by zero, except in SwError. "JSON" is JSON text.
 * Threads.   One session is used by one thread at a time, not always by the same one; different
 *            sessions at the same time. Functions of SwDialect and SwSource without a session are
 *            called from any thread, several at a time. SwHost.log, log_enabled, now and post may be
 *            called from any thread at any time; the rest of SwHost only during the call that lent
 *            its first argument, by the thread that was called.
 * Time.      A call of a dialect returns within a millisecond, does no I/O and does not wait. Above
 *            50 ms it is reported; above 1 s the plug-in takes no more new miners.
 * Signals.   Are blocked in every thread of the host and in threads these start. Leave it so.
 * Unwinding. No exception and no panic may cross this border; it would end the program.
 */
#ifndef SWITCHER_PLUGIN_H
#define SWITCHER_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SW_ABI_MAJOR 1u
#define SW_ABI_MINOR 0u

/* ---- Small things ------------------------------------------------------------------------- */

/* Bytes or text. `ptr` is null only where "none" is a possible value and meant. */
typedef struct SwStr {
    const uint8_t *ptr;
    size_t len;
} SwStr;

/* An end of a session: SW_MINER, or the number of a leg (a connection to a pool). Legs are numbered
 * by the host, upwards within a session, and never twice. */
typedef uint32_t SwSide;
#define SW_MINER 0xffffffffu
#define SW_NO_LEG 0xffffffffu

/* What functions return. */
#define SW_OK 0
#define SW_FAULT 1       /* a peer did wrong, see SwError.side and .fault; only from handle */
#define SW_BAD_CONFIG 2  /* a setting cannot be worked with, see SwError */
#define SW_BAD_STATE 3   /* saved state does not read */
#define SW_FAILED 4      /* the plug-in failed, see SwError.problem */
#define SW_PANIC 5       /* the same, by a panic that was stopped at the border */
#define SW_UNSUPPORTED 6 /* the other side does not know this kind, or is too old */
#define SW_EXCESS 7      /* too much output for one call; the session will be ended */

/* Written by the function that fails; belongs to the caller. Texts end with a zero byte. */
typedef struct SwError {
    uint32_t size;
    SwSide side;        /* SW_FAULT: whose fault it is */
    uint32_t fault;     /* SW_FAULT: one of SW_FAULT_… */
    uint32_t reserved;
    char key[80];       /* SW_BAD_CONFIG: the key, below the pool, listener or source */
    char problem[256];  /* what is wrong */
    char accepted[160]; /* SW_BAD_CONFIG: what would be accepted */
} SwError;

/* What a peer did wrong; the label in the host's metrics. */
#define SW_FAULT_BAD_FRAME 1u       /* no frame of the dialect at all */
#define SW_FAULT_BAD_PARAMS 2u      /* fields of the wrong type, number or size */
#define SW_FAULT_DEADLINE 3u        /* not in time */
#define SW_FAULT_EXCESS 4u          /* too many requests outstanding, too much held */
#define SW_FAULT_PLUGIN_FAILED 5u   /* not the peer's fault but ours */
#define SW_FAULT_SLOW_READER 6u
#define SW_FAULT_TOO_LONG 7u
#define SW_FAULT_UNEXPECTED 8u      /* legal, but not in this phase; also any kind not known */
#define SW_FAULT_UNKNOWN_ID 9u      /* an answer to what was not asked */
#define SW_FAULT_UNKNOWN_DIALECT 10u
#define SW_FAULT_TORN 11u           /* the rest of a frame that another program has begun */

/* How a leg serves a miner that was not connected for its pool, best first. A set of rungs is the
 * sum of 1 << rung. */
#define SW_RUNG_ECHO 0u      /* the pool takes the extranonce the miner has */
#define SW_RUNG_FOLD 1u      /* the pool's extranonce1 is folded into the coinbase */
#define SW_RUNG_ANNOUNCE 2u  /* the miner is told a new extranonce */
#define SW_RUNG_RECONNECT 3u /* the miner is sent back to us */
#define SW_RUNG_DROP 4u      /* the miner's connection is reset */

/* Levels of the log. */
#define SW_LOG_ERROR 1u
#define SW_LOG_WARN 2u
#define SW_LOG_INFO 3u
#define SW_LOG_DEBUG 4u
#define SW_LOG_TRACE 5u

/* The host's own things, which a plug-in only passes back. */
typedef struct SwOut SwOut;       /* takes what a session wants done; lent for one call of handle */
typedef struct SwBuf SwBuf;       /* takes a result of unknown length; lent for one call */
typedef struct SwFields SwFields; /* takes names and values; lent for one call of describe */
typedef struct SwSink SwSink;     /* takes notices of a source; stays valid for ever */

typedef struct SwAction SwAction;
typedef struct SwNotice SwNotice;
typedef struct SwDialect SwDialect;
typedef struct SwSource SwSource;

/* ---- What the host offers ----------------------------------------------------------------- */

/* Stays valid for ever. `ctx` is the first argument of log and log_enabled. */
typedef struct SwHost {
    uint32_t size;
    uint32_t abi_minor;
    SwStr version; /* of the program */
    void *ctx;
    /* Writes a line of the log. `target` says which part of the plug-in speaks. */
    void (*log)(void *ctx, uint32_t level, SwStr target, SwStr message);
    /* Whether a line of that level would be written: 1 or 0. */
    uint32_t (*log_enabled)(void *ctx, uint32_t level);
    /* Milliseconds of CLOCK_MONOTONIC. For sources; a dialect uses the `now` it is given. */
    uint64_t (*now)(void);
    /* Adds bytes to a result. */
    void (*append)(SwBuf *buf, SwStr bytes);
    /* Sends bytes to the miner or a leg, in order with the actions. SW_OK or SW_EXCESS. */
    int32_t (*send)(SwOut *out, SwSide to, SwStr bytes);
    /* Wants something done. SW_OK, SW_EXCESS, SW_UNSUPPORTED (a kind not known), or SW_FAILED (its
     * members make no sense); each but the first ends the session after this call. */
    int32_t (*push)(SwOut *out, const SwAction *action);
    /* Adds a name and a value to what the API shows of a session. */
    void (*field)(SwFields *fields, SwStr name, SwStr value);
    /* Posts a fact. SW_OK, SW_UNSUPPORTED, SW_FAILED, or SW_EXCESS once stop has returned. */
    int32_t (*post)(SwSink *sink, const SwNotice *notice);
} SwHost;

/* ---- Dialects ----------------------------------------------------------------------------- */

/* A pool's configuration as far as it is the dialect's business. */
typedef struct SwUpstream {
    uint32_t size;
    uint32_t reserved;
    SwStr name;
    SwStr coin;
    SwStr user;     /* template of the user name; none if not configured */
    SwStr password; /* template of the password; none if not configured */
    SwStr options;  /* JSON object, or "null" */
} SwUpstream;

/* A pool as sessions see it before they have met it. */
typedef struct SwPool {
    uint32_t size;
    uint32_t reserved;
    SwStr name;
    SwStr coin;
    SwStr profile; /* what `profile` has made of its configuration */
    SwStr fact;    /* what sessions have learnt about it (SW_LEARN), JSON; or none */
} SwPool;

/* A listener as its sessions see it. */
typedef struct SwListener {
    uint32_t size;
    uint32_t reserved;
    uint64_t id;   /* equal ids, equal contents: for keeping what was read of it */
    SwStr name;
    SwStr options; /* JSON object, or "null" */
    const SwPool *const *pools;
    size_t n_pools;
} SwListener;

#define SW_SEAT_MINER 1u
#define SW_SEAT_PROBE 2u /* nobody: connect to one pool, SW_LEARN what it is like, SW_CLOSE */

/* What a session is told about itself when it begins. */
typedef struct SwSeat {
    uint32_t size;
    uint32_t kind;        /* SW_SEAT_… */
    uint64_t session;     /* its number */
    uint32_t short_id;    /* a number no other live session of the fleet has */
    uint32_t peer_family; /* 0 if the address is not known, else 4 or 6 */
    uint8_t peer[16];     /* the miner's address, its first 4 bytes if peer_family is 4 */
    uint8_t entropy[16];  /* nobody can guess it; a dialect has no randomness of its own */
    const SwListener *listener;
} SwSeat;

/* What can happen to a session, and which members of SwInput then mean something. */
#define SW_ASSIGNED 1u /* coin, canonical_name: where it belongs is known, or has changed */
#define SW_CUT_OVER 2u /* side: from here on the miner is served by this leg */
#define SW_FRAME 3u    /* side, data: a whole frame, terminator included */
#define SW_LEG_DOWN 4u /* side: the leg was lost */
#define SW_LEG_GONE 5u /* side: the host has closed the leg, as planned */
#define SW_LEG_UP 6u   /* side, data (the pool's profile), form, rungs: nothing was sent on it yet */
#define SW_RECALLED 7u /* data: the note asked for with SW_RECALL, or none */
#define SW_REFUSED 8u  /* refusal: no leg for now; answer what the miner waits for */
#define SW_WAKE 9u     /* the time asked for with SW_WAKE_AT has come */

#define SW_REFUSAL_BUSY 1u
#define SW_REFUSAL_NO_ASSIGNMENT 2u
#define SW_REFUSAL_NO_SUCH_COIN 3u
#define SW_REFUSAL_NO_POOL 4u
#define SW_REFUSAL_NOT_REGISTERED 5u
#define SW_REFUSAL_UNKNOWN_SUB_ACCOUNT 6u

typedef struct SwInput {
    uint32_t size;
    uint32_t kind; /* SW_ASSIGNED … SW_WAKE */
    SwSide side;
    uint32_t form;    /* 0 at first; one more after each SW_RETRY_NEXT_FORM */
    uint32_t rungs;   /* the rungs it may use: a sum of 1 << SW_RUNG_… */
    uint32_t refusal; /* SW_REFUSAL_… */
    SwStr data;
    SwStr coin;
    SwStr canonical_name; /* the sub-account as its source spells it; for user names towards pools */
} SwInput;

/* What a session may want, and which members of SwAction then mean something. The host does it in
 * the order given, before the next input. Sending bytes is SwHost.send. */
#define SW_CANNOT_MOVE 1u  /* text (why): cannot follow the assignment; staying is all it can do */
#define SW_CLOSE 2u        /* text (why): end the session once all that was sent has been written */
#define SW_DISREGARD 3u    /* side, code (SW_FAULT_…): the frame was dropped; count it */
#define SW_FORWARD 4u      /* side: pass the frame being handled on to it, unchanged */
#define SW_IDENTIFY 5u     /* text (sub-account), more (worker): the miner has said who it is. Once,
                              and again only after SW_RETRY_LOGIN */
#define SW_JOB 6u          /* side: a new job came on that leg */
#define SW_LEARN 7u        /* side, text (JSON): remember this of the leg's pool, for all sessions */
#define SW_LEG_READY 8u    /* side, code (SW_RUNG_…): it has all that is needed to serve the miner */
#define SW_LEG_REFUSED 9u  /* side, code (SW_RETRY_…), text (why): it cannot; the host closes it */
#define SW_RECALL 10u      /* text (key): asks for a note and removes it; answered by SW_RECALLED */
#define SW_REMEMBER 11u    /* text (key), more (note): keep it for a later session of the family */
#define SW_REPLACE_LEG 12u /* side, text (why), more (host to go to, or none), port: make a new leg
                              to the same coin, then leave this one */
#define SW_SHARE 13u       /* side (or SW_NO_LEG), code (SW_VERDICT_…), reject_code, difficulty: a
                              share was answered */
#define SW_SUBMITTED 14u   /* side: a share went up on that leg, its answer is outstanding */
#define SW_WAKE_AT 15u     /* when: give SW_WAKE then; replaces an earlier wish */

#define SW_RETRY_LOGIN 1u     /* the pool refused the miner's login, and the miner has been told */
#define SW_RETRY_NEXT_FORM 2u /* the same pool at once, a new connection, form + 1 */
#define SW_RETRY_PERMANENT 3u /* this session can never be served by this pool */
#define SW_RETRY_LATER 4u     /* may work later */
#define SW_RETRY_USER 5u      /* the pool refuses this user; may work later */

#define SW_VERDICT_ACCEPT 1u     /* the pool accepted it */
#define SW_VERDICT_ORPHAN 2u     /* the leg that gave its job is gone; answered by the session */
#define SW_VERDICT_POOLLESS 3u   /* no pool at the moment; answered by the session */
#define SW_VERDICT_REJECT 4u     /* the pool refused it with reject_code (0: none; 21: stale) */
#define SW_VERDICT_UNANSWERED 5u /* its leg was lost meanwhile; answered by the session */

struct SwAction {
    uint32_t size;
    uint32_t kind; /* SW_CANNOT_MOVE … SW_WAKE_AT */
    SwSide side;
    uint32_t code;
    int32_t reject_code;
    uint32_t port;
    uint64_t when; /* milliseconds, of the same clock as `now` */
    double difficulty; /* of the share's job as its pool counts it, 0 if unknown */
    SwStr text;
    SwStr more;
};

#define SW_MINE 1u
#define SW_NEED_MORE 2u
#define SW_NOT_MINE 3u

/* A way of speaking Stratum. `self` is this very struct; `data` is the plug-in's own. Sessions are
 * pointers of the plug-in's own. All functions must be there unless "may be null" is said. */
struct SwDialect {
    uint32_t size;
    uint32_t reserved;
    void *data;
    SwStr name;      /* key in the configuration: a-z, 0-9 and "-" */
    SwStr family;    /* dialects of one family can serve each other's legs */
    SwStr algorithm; /* hash algorithm of its coins unless configured otherwise: "sha256d" */
    SwStr about;     /* what it is, in a few words */
    uint32_t state_first; /* oldest version of saved state it reads and writes, … */
    uint32_t state_last;  /* … and newest; at most 65535 */
    uint32_t short_id_bits;   /* bits of the index in SwSeat.short_id, 1 to 24; 24 is usual */
    uint32_t short_id_stride; /* how far the next index is from the last; 1 is usual */

    /* Whether a miner's first bytes are this dialect's: SW_MINE … SW_NOT_MINE. Must decide on a
     * whole first frame at the latest. */
    uint32_t (*recognise)(const SwDialect *self, SwStr first);
    /* Works out once what a leg to this pool needs; read again at SW_LEG_UP by sessions of the
     * family. SW_OK or SW_BAD_CONFIG. */
    int32_t (*profile)(const SwDialect *self, const SwUpstream *pool, SwBuf *profile, SwError *error);
    /* Checks the dialect's options of a listener: JSON object or "null". SW_OK, SW_BAD_CONFIG. */
    int32_t (*check_listener)(const SwDialect *self, SwStr options, SwError *error);
    /* Begins a session. */
    int32_t (*open)(const SwDialect *self, const SwSeat *seat, void **session, SwError *error);
    /* Brings a saved session back; `version` lies within state_first and state_last. SW_OK or
     * SW_BAD_STATE. */
    int32_t (*resume)(const SwDialect *self, const SwSeat *seat, uint32_t version, SwStr state,
                      void **session, SwError *error);

    /* Ends a session and frees it. */
    void (*close)(void *session);
    /* Length of the first whole frame in `bytes`, terminator included; 0 if there is none yet.
     * Changes nothing. May be null: then a frame ends with a line feed. */
    size_t (*cut)(const void *session, SwSide side, SwStr bytes);
    /* Takes one input. SW_OK, or SW_FAULT, which ends the side that is at fault; what was wanted
     * by then is still done. `now`: milliseconds. */
    int32_t (*handle)(void *session, uint64_t now, const SwInput *input, SwOut *out, SwError *error);
    /* Writes the whole state in that version; UTF-8, JSON by convention. What is brought back with
     * resume, now or after an upgrade, must behave the same. The session goes on. */
    int32_t (*save)(const void *session, uint32_t version, SwBuf *state, SwError *error);
    /* Shows itself in the API with SwHost.field. May be null or beyond size. */
    void (*describe)(const void *session, SwFields *fields);
};

/* ---- Coin sources ------------------------------------------------------------------------- */

/* A coin and its weight among several. Never grows. */
typedef struct SwWeight {
    SwStr coin;
    double weight;
} SwWeight;

/* Facts a source may post. */
#define SW_ASSIGN 1u       /* sub_account, coins, origin: shall mine this; moves its sessions */
#define SW_DEFAULT 2u      /* the same for newcomers; never moves a session that mines */
#define SW_HEALTH 3u       /* number (1 well, 0 not), text: said on change, and once at the start */
#define SW_REGISTERING 4u  /* sub_account: is being registered, its sessions wait */
#define SW_REGISTRATION_REFUSED 5u /* sub_account, text (why) */
#define SW_RENAMED 6u      /* sub_account, text: how it is spelt towards pools */
#define SW_SERVER_ID 7u    /* number (1 to 255): of this switcher in its fleet */
#define SW_UNKNOWN 8u      /* sub_account: not known; turns newcomers away, never moves a session */
#define SW_GAVE_UP 9u      /* text (why): the source is useless for good; it is stopped */

struct SwNotice {
    uint32_t size;
    uint32_t kind; /* SW_ASSIGN … SW_GAVE_UP */
    SwStr sub_account;
    const SwWeight *coins; /* the first is used today */
    size_t n_coins;
    SwStr origin; /* what the operator will look for in the audit: a file and line, a node … */
    SwStr text;
    uint64_t number;
};

#define SW_ACQUIRE 1u /* sub_account, worker, session: its first session came. An answer is due:
                         SW_ASSIGN, SW_DEFAULT, SW_UNKNOWN, or SW_REGISTERING and one later */
#define SW_RELEASE 2u /* sub_account: its last session went */

/* A change of interest in a sub-account. */
typedef struct SwWanted {
    uint32_t size;
    uint32_t kind;      /* SW_ACQUIRE or SW_RELEASE */
    SwStr sub_account;
    SwStr worker;
    uint64_t session;
} SwWanted;

/* A source of assignments. It owns its threads, and posts from them whenever it knows something.
 * `start`, `wanted` and `stop` are called by one thread of the host that does nothing else. */
struct SwSource {
    uint32_t size;
    uint32_t reserved;
    void *data;
    SwStr name;  /* its table in the configuration is [sources.<name>]; a-z, 0-9 and "-" */
    SwStr about; /* what it is, in a few words */

    /* Starts it and comes back. `config`: its table of the configuration as a JSON object. `saved`:
     * what the run before has left, empty at first. Posts go to `sink`, from now on. */
    int32_t (*start)(const SwSource *self, SwStr config, SwStr saved, SwSink *sink, void **running,
                     SwError *error);
    /* Tells of a change of interest. May be null for a source that posts all it knows anyway and a
     * SW_DEFAULT or SW_UNKNOWN for nobody. */
    void (*wanted)(void *running, const SwWanted *wanted);
    /* Ends its threads, writes what the next run should know, perhaps in another program, and frees
     * it. Called for every start that went well. Should take less than 300 ms: that is what an
     * upgrade waits for. Posts after it are dropped. */
    int32_t (*stop)(void *running, SwBuf *state, SwError *error);
    /* Looks at the configuration without starting anything, and writes what is there, for
     * `stratum-switcher check`. SW_OK or SW_BAD_CONFIG. May be null or beyond size. */
    int32_t (*check)(const SwSource *self, SwStr config, SwBuf *found, SwError *error);
};

/* ---- The plug-in -------------------------------------------------------------------------- */

typedef struct SwPlugin {
    uint32_t size;
    uint32_t abi_minor; /* SW_ABI_MINOR of the header it was built with */
    SwStr name;
    SwStr version;
    SwStr build; /* what built it, for bug reports: compiler, commit */
    const SwDialect *const *dialects;
    size_t n_dialects;
    const SwSource *const *sources;
    size_t n_sources;
} SwPlugin;

/* The one symbol. Called once per process, before any thread serves miners. Returns null and fills
 * `error` if it cannot work with this host. */
const SwPlugin *switcher_plugin_v1(const SwHost *host, SwError *error);

#ifdef __cplusplus
}
#endif

#endif
