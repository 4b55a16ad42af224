with source as (
    select * from {{ source('raw', 'surveys') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.survey_id,
        source.question_id,

        -- attributes
        source.wave,
        source.type as question_type,
        source."text" as question_text,
        source.options,
        source.touchpoint,
        source.sampling,

        -- numerics
        source.scale_min,
        source.scale_max,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    where deliveries.is_in_force
)

select * from renamed
