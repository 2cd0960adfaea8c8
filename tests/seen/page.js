// What the tests ask OHIF's page. Runs before the page's own scripts; tied to the version that CI pins.
(() => {
  const faults = [];
  const services = () => window.services;

  // The guided tours would cover the image.
  const tours = ['basicViewerTour', 'basicViewer', 'longitudinalTour', 'segmentationTour'];
  try {
    localStorage.setItem('shownTours', JSON.stringify(tours));
  } catch { /* a frame without storage, such as the one that shows a PDF */ }

  window.addEventListener('error', event => faults.push(`uncaught: ${event.error?.stack ?? event.message}`));
  window.addEventListener('unhandledrejection', event =>
    faults.push(`unhandled: ${event.reason?.stack ?? event.reason}`));

  function listen() {
    const { eventTarget, Enums } = window.cornerstone;
    for (const name of ['IMAGE_LOAD_FAILED', 'IMAGE_LOAD_ERROR', 'VOLUME_LOADED_FAILED']) {
      eventTarget.addEventListener(Enums.Events[name], event =>
        faults.push(`${name}: ${event.detail?.error?.message ?? event.detail?.error ?? ''}`));
    }
    const notifications = services().uiNotificationService;
    const show = notifications.show.bind(notifications);
    notifications.show = note => {
      if (note.type === 'error') faults.push(`notification: ${note.title}: ${note.message}`);
      return show(note);
    };
  }

  let listening = false;
  function listed(count) {
    if (!services()?.displaySetService || !window.cornerstone) return false;
    if (!listening) listen();
    listening = true;
    return services().displaySetService.getActiveDisplaySets().length >= count;
  }

  function series() {
    return services().displaySetService.getActiveDisplaySets().map(set => ({
      key: set.displaySetInstanceUID,
      uid: set.SeriesInstanceUID,
      modality: set.Modality,
      description: set.SeriesDescription ?? '',
      frames: set.numImageFrames ?? 0,
      supported: !set.unsupported,
      regions: (set.measurements ?? []).map(each => ({
        image: each.ReferencedSOPInstanceUID,
        drawn: Boolean(each.loaded),
      })),
    }));
  }

  const image = viewport => (viewport.getCurrentImageId?.() ?? '').match(/\/instances\/([\d.]+)/)?.[1] ?? '';

  function pane() {
    const grid = services().viewportGridService;
    const id = grid.getActiveViewportId();
    const viewport = services().cornerstoneViewportService.getCornerstoneViewport(id);
    const element = document.querySelector('[data-cy=viewport-pane]');
    return {
      viewport,
      sets: grid.getState().viewports.get(id)?.displaySetInstanceUIDs ?? [],
      loading: /^\s*Loading/m.test(element?.innerText ?? ''),
    };
  }

  // Whether the pane shows the display set, or it is clear that it never will.
  function shows(key) {
    if (faults.length || errorPage()) return true;
    const { viewport, sets, loading } = pane();
    if (!sets.includes(key) || loading) return false;
    const set = services().displaySetService.getDisplaySetByUID(key);
    if (set.Modality === 'DOC') return Boolean(document.querySelector('[data-cy=viewport-pane] object[type="application/pdf"]'));
    if (set.Modality === 'SEG') return Boolean(set.isLoaded) && viewport?.viewportStatus === 'rendered';
    if (set.Modality === 'PMAP') return Boolean(set.isLoaded) && pictured().layers.includes(key);
    if (set.Modality === 'SR') return Boolean(set.isLoaded && set.measurements?.length);
    const shown = viewport?.viewportStatus === 'rendered' ? image(viewport) : '';
    return set.instances.some(instance => instance.SOPInstanceUID === shown);
  }

  // What the viewport draws now: which slice, and the layers over one another.
  function pictured() {
    const { viewport } = pane();
    return {
      type: viewport?.type,
      status: viewport?.viewportStatus,
      slice: viewport?.getSliceIndex?.(),
      layers: (viewport?.getActors?.() ?? []).map(({ uid, referencedId }) => referencedId ?? uid),
    };
  }

  const painted = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));

  // To a share of the way through the series, and until that is on the screen.
  async function step(share) {
    const { viewport } = pane();
    const place = Math.floor((viewport?.getImageIds?.().length ?? 0) * share);
    if (place) await window.cornerstone.utilities.jumpToSlice(viewport.element, { imageIndex: place });
    await painted();
  }

  const layers = () => [...document.querySelectorAll('svg.svg-layer')];
  const visible = shape => !shape.closest('defs') && getComputedStyle(shape).display !== 'none';

  // What is drawn over the image that is shown now.
  function drawing() {
    const { viewport } = pane();
    const texts = layers().flatMap(layer => [...layer.querySelectorAll('text')]);
    return {
      image: viewport ? image(viewport) : '',
      shapes: layers().flatMap(layer => [...layer.querySelectorAll('path, polyline, polygon')]).filter(visible).length,
      texts: texts.map(text => [...text.querySelectorAll('tspan')].map(line => line.textContent)),
    };
  }

  // Whether the image is shown with something drawn over it. On a slow machine OHIF may paint the image before
  // it knows the regions, and draws them with the next painting: whatever the reader does next.
  function drew(uid) {
    const drawn = drawing();
    if (drawn.image !== uid) return false;
    if (drawn.shapes > 0 && drawn.texts.length > 0) return true;
    pane().viewport.render();
    return false;
  }

  const errorPage = () => document.body?.innerText.match(/something went wrong|an error occurred/i)?.[0] ?? '';

  window.seen = { faults, listed, series, shows, pictured, step, drawing, drew, errorPage };
})();
