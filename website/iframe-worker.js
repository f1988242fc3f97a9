// The search runs in a worker, and browsers start no worker for a page that was opened from a file.
// For such pages, this puts a hidden frame in the worker's place. It fetches nothing from a network.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      // The script believes that it is a worker: what it posts goes to the page, not to the frame.
      inside.postMessage = (message) => {
        const data = structuredClone(message);
        setTimeout(() => this.onmessage?.({ data }));
      };
      this.ready = new Promise((resolve, reject) => {
        const script = inside.document.createElement("script");
        script.src = new URL(url, location.href).href;
        script.onload = () => resolve(inside);
        script.onerror = reject;
        inside.document.body.append(script);
      });
      this.ready.catch((event) => this.onerror?.(event));
    }

    // Messages between page and worker are copies: neither side sees what the other changes later.
    postMessage(message) {
      const data = structuredClone(message);
      this.ready.then((inside) => inside.onmessage({ data }), () => {});
    }

    terminate() {
      this.frame.remove();
    }
  };
}
