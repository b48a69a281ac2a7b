/* A fake libnvidia-ml.so.1: it answers from the text file `nvml` in $FAKEGPU (/run/fakegpu), read anew at each call, so
 * that a test changes the hardware while a program runs. tests/gpu/world.py writes the file:
 *
 *   driver VERSION | libraries VERSION | init CODE | hang 0|1
 *   card PCI UUID MINOR MAJOR.MINOR TOTAL USED UTILISATION CODE NAME…
 *   process PCI PID BYTES
 *
 * Structures and numbers are those of NVIDIA's nvml.h; what is not asked for by farrier_host is left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_FOUND = 6, TOO_SMALL = 7, CARDS = 8, PROCESSES = 256 };

typedef struct { char pci[16], uuid[80], name[96]; int minor, major, revision, code; unsigned use; unsigned long long total, used; } Card;
typedef struct { char pci[16]; unsigned pid; unsigned long long bytes; } Process;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } ProcessInfo;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char pci[32]; } Pci;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilisation;

static struct { char driver[32], libraries[32]; int init, hang, cards, processes; Card card[CARDS]; Process process[PROCESSES]; } world;

static int look(void) {
    char path[4096], line[512];
    const char *folder = getenv("FAKEGPU");
    snprintf(path, sizeof path, "%s/nvml", folder ? folder : "/run/fakegpu");
    FILE *file = fopen(path, "r");
    if (!file) return 9; /* NVML_ERROR_DRIVER_NOT_LOADED */
    memset(&world, 0, sizeof world);
    while (world.cards < CARDS && world.processes < PROCESSES && fgets(line, sizeof line, file)) {
        Card *card = &world.card[world.cards];
        Process *process = &world.process[world.processes];
        sscanf(line, "driver %31s", world.driver);
        sscanf(line, "libraries %31s", world.libraries);
        sscanf(line, "init %d", &world.init);
        sscanf(line, "hang %d", &world.hang);
        if (sscanf(line, "card %15s %79s %d %d.%d %llu %llu %u %d %95[^\n]", card->pci, card->uuid, &card->minor, &card->major,
                   &card->revision, &card->total, &card->used, &card->use, &card->code, card->name) == 10) world.cards++;
        if (sscanf(line, "process %15s %u %llu", process->pci, &process->pid, &process->bytes) == 3) world.processes++;
    }
    fclose(file);
    while (world.hang) pause();
    return world.init;
}

static int answer(char *to, unsigned size, const char *text) {
    return snprintf(to, size, "%s", text) < (int)size ? OK : TOO_SMALL;
}

static int device(void *handle, Card **card) {
    int code = look();
    size_t number = (size_t)handle;
    if (code) return code;
    if (number < 1 || number > (size_t)world.cards) return INVALID;
    *card = &world.card[number - 1];
    return (*card)->code;
}

#define DEVICE(handle) Card *card; int code = device(handle, &card); if (code) return code

int nvmlInit_v2(void) { return look(); }
int nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(int code) {
    switch (code) {
        case 0: return "Success";
        case 6: return "Not Found";
        case 9: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *to, unsigned size) { int code = look(); return code ? code : answer(to, size, world.driver); }

int nvmlSystemGetNVMLVersion(char *to, unsigned size) {
    char text[40];
    look();
    snprintf(text, sizeof text, "12.%s", world.libraries);
    return answer(to, size, text);
}

int nvmlDeviceGetCount_v2(unsigned *count) { int code = look(); *count = world.cards; return code; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    Card *card;
    *handle = (void *)(size_t)(index + 1);
    return device(*handle, &card);
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **handle) {
    int code = look();
    for (int i = 0; !code && i < world.cards; i++)
        if (!strcasecmp(world.card[i].pci, pci)) return nvmlDeviceGetHandleByIndex_v2(i, handle);
    return code ? code : NOT_FOUND;
}

int nvmlDeviceGetUUID(void *handle, char *to, unsigned size) { DEVICE(handle); return answer(to, size, card->uuid); }
int nvmlDeviceGetName(void *handle, char *to, unsigned size) { DEVICE(handle); return answer(to, size, card->name); }
int nvmlDeviceGetMinorNumber(void *handle, unsigned *minor) { DEVICE(handle); *minor = card->minor; return OK; }

int nvmlDeviceGetPciInfo_v3(void *handle, Pci *pci) {
    DEVICE(handle);
    memset(pci, 0, sizeof *pci);
    sscanf(card->pci, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->legacy, sizeof pci->legacy, "%04X:%02X:%02X.0", pci->domain & 0xffff, pci->bus & 0xff, pci->device & 0xff);
    snprintf(pci->pci, sizeof pci->pci, "%08X:%02X:%02X.0", pci->domain, pci->bus, pci->device);
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    DEVICE(handle);
    *major = card->major;
    *minor = card->revision;
    return OK;
}

int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    DEVICE(handle);
    *memory = (Memory){card->total, card->total - card->used, card->used};
    return OK;
}

int nvmlDeviceGetUtilizationRates(void *handle, Utilisation *use) { DEVICE(handle); *use = (Utilisation){card->use, 0}; return OK; }

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, ProcessInfo *found) {
    DEVICE(handle);
    unsigned room = *count, number = 0;
    for (int i = 0; i < world.processes; i++) {
        Process *process = &world.process[i];
        if (strcmp(process->pci, card->pci)) continue;
        if (number < room) found[number] = (ProcessInfo){process->pid, process->bytes, ~0u, ~0u};
        number++;
    }
    *count = number;
    return number > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, ProcessInfo *found) {
    (void)found;
    DEVICE(handle);
    *count = 0;
    return OK;
}
