-- Every CT series that has come to rest goes to the node, but not what the node has made.
function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'CT' and metadata['RemoteAET'] ~= 'CTDENOISE' then
    RestApiPost('/modalities/ctdenoise/store', DumpJson({
      Resources = { seriesId },
      Asynchronous = true
    }, true))
  end
end
